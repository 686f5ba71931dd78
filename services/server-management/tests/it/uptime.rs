use fleet::ServerId;
use registry::{Actor, Pause};
use serde_json::{Value, json};

use crate::{
    place::Place,
    suite::{HOUR, MINUTE, NOW, SECOND, Suite, steady},
};

async fn uptime(suite: &Suite, server: ServerId, from: i64, to: i64) -> Value {
    suite.read(&format!("/servers/{server}/uptime?from={from}&to={to}")).await
}

fn figure(server: ServerId, (from, to): (i64, i64), covered: i64, expected: i64) -> Value {
    let uptime = (expected > 0).then(|| covered as f64 / expected as f64);
    json!({"server_id": server, "from": from, "to": to, "covered_ms": covered, "expected_ms": expected, "uptime": uptime})
}

/// Enrolled two hours ago; now it is `NOW`.
async fn enrolled(place: Place, name: &str) -> (Suite, ServerId) {
    let mut suite = Suite::spawn(place).await;
    suite.at(NOW - 2 * HOUR).await;
    let server = suite.enrol(name).await;
    suite.at(NOW).await;
    suite.settle(NOW, NOW - 3 * HOUR).await;
    (suite, server)
}

pub async fn a_healthy_server_shows_all_of_the_last_hour(place: Place) {
    let (suite, server) = enrolled(place, "web-1").await;
    // Its next sample is due in ten seconds.
    let newest = NOW - 20 * SECOND;
    suite.hear(server, &steady(newest - 2 * HOUR, newest)).await;
    let hour = (NOW - HOUR, NOW);
    let expected = HOUR - 20 * SECOND;
    assert_eq!(uptime(&suite, server, hour.0, hour.1).await, figure(server, hour, expected, expected));
}

pub async fn a_gap_counts(place: Place) {
    let (suite, server) = enrolled(place, "web-1").await;
    suite.hear(server, &steady(NOW - 2 * HOUR, NOW - 30 * MINUTE)).await;
    suite.hear(server, &steady(NOW - 24 * MINUTE, NOW)).await;
    let hour = (NOW - HOUR, NOW);
    assert_eq!(uptime(&suite, server, hour.0, hour.1).await, figure(server, hour, 54 * MINUTE, HOUR));
    // Both edges within one sample.
    let cut = (NOW - 25 * SECOND, NOW - 5 * SECOND);
    assert_eq!(uptime(&suite, server, cut.0, cut.1).await, figure(server, cut, 20 * SECOND, 20 * SECOND));
}

pub async fn a_server_that_is_down_is_expected_up_to_the_watermark(place: Place) {
    let (suite, server) = enrolled(place, "web-1").await;
    suite.hear(server, &steady(NOW - 2 * HOUR, NOW - 15 * MINUTE)).await;
    assert_eq!(suite.read(&format!("/servers/{server}")).await["status"], "down");
    let hour = (NOW - HOUR, NOW);
    assert_eq!(uptime(&suite, server, hour.0, hour.1).await, figure(server, hour, 45 * MINUTE, HOUR));
}

pub async fn nothing_is_expected_of_one_never_heard_before_enrolment_or_in_the_future(place: Place) {
    let (suite, server) = enrolled(place, "web-1").await;
    let hour = (NOW - HOUR, NOW);
    assert_eq!(uptime(&suite, server, hour.0, hour.1).await, figure(server, hour, 0, 0));
    suite.hear(server, &steady(NOW - 2 * HOUR, NOW)).await;
    let early = (NOW - 4 * HOUR, NOW - 3 * HOUR);
    assert_eq!(uptime(&suite, server, early.0, early.1).await, figure(server, early, 0, 0));
    let future = (NOW + HOUR, NOW + 2 * HOUR);
    assert_eq!(uptime(&suite, server, future.0, future.1).await, figure(server, future, 0, 0));
    let across = (NOW - 3 * HOUR, NOW + HOUR);
    assert_eq!(uptime(&suite, server, across.0, across.1).await, figure(server, across, 2 * HOUR, 2 * HOUR));
}

pub async fn outages_are_what_is_expected_less_what_is_covered(place: Place) {
    let (suite, server) = enrolled(place, "web-1").await;
    suite.hear(server, &steady(NOW - 2 * HOUR, NOW - 50 * MINUTE)).await;
    suite.hear(server, &steady(NOW - 40 * MINUTE, NOW - 30 * MINUTE)).await;
    let (from, to) = (NOW - HOUR, NOW);
    let read = suite.read(&format!("/servers/{server}/outages?from={from}&to={to}")).await;
    let outage = |from: i64, to: i64| json!({"from": from, "to": to, "length_ms": to - from});
    let (first, second) = ((NOW - 50 * MINUTE, NOW - 40 * MINUTE), (NOW - 30 * MINUTE, NOW));
    // It is down, so it is expected up to now.
    let both =
        json!({"outages": [outage(first.0, first.1), outage(second.0, second.1)], "more_before": null});
    assert_eq!(read, both);
    assert_eq!(uptime(&suite, server, from, to).await, figure(server, (from, to), 20 * MINUTE, HOUR));
    // A pause divides an outage, and what is paused is none.
    suite
        .registry
        .pause(server, &Pause::default(), &Actor::system(), NOW - 20 * MINUTE)
        .await
        .unwrap()
        .unwrap();
    suite.registry.resume(server, &Actor::system(), NOW - 10 * MINUTE).await.unwrap().unwrap();
    let read = suite.read(&format!("/servers/{server}/outages?from={}&to={to}", NOW - 35 * MINUTE)).await;
    let divided = [outage(NOW - 30 * MINUTE, NOW - 20 * MINUTE), outage(NOW - 10 * MINUTE, NOW)];
    assert_eq!(read["outages"], json!(divided));
    let fresh = suite.enrol("fresh").await;
    assert_eq!(suite.read(&format!("/servers/{fresh}/outages")).await["outages"], json!([]));
}

pub async fn a_cloned_machine_and_generous_covers_hide_no_outage(place: Place) {
    let (suite, server) = enrolled(place, "web-1").await;
    let resumed = NOW - 20 * MINUTE;
    let own = [steady(NOW - 2 * HOUR, NOW - 40 * MINUTE), steady(resumed, NOW)].concat();
    let generous: Vec<(i64, i64)> = own.into_iter().map(|(at, covers)| (at, 2 * covers)).collect();
    suite.hear(server, &generous).await;
    // The clone stops 7 s later.
    let clone = steady(NOW - 2 * HOUR, NOW - 40 * MINUTE).into_iter();
    suite.hear(server, &clone.map(|(at, covers)| (at + 7 * SECOND, covers)).collect::<Vec<_>>()).await;
    let (from, to) = (NOW - HOUR, NOW);
    // The first snapshot after it vouches for 30 s before it was up again.
    let (begins, ends) = (NOW - 40 * MINUTE + 7 * SECOND, resumed - 30 * SECOND);
    let covered = HOUR - (ends - begins);
    for _ in 0..2 {
        let read = suite.read(&format!("/servers/{server}/outages?from={from}&to={to}")).await;
        assert_eq!(read["outages"], json!([{"from": begins, "to": ends, "length_ms": ends - begins}]));
        assert_eq!(uptime(&suite, server, from, to).await, figure(server, (from, to), covered, HOUR));
        let of_many = suite.read(&format!("/uptime?from={from}&to={to}")).await;
        assert_eq!(of_many["items"][0]["covered_ms"], covered);
        while suite.history.decide_overlaps().await.unwrap() {}
    }
}

pub async fn pauses_are_not_expected(place: Place) {
    let (suite, server) = enrolled(place, "web-1").await;
    suite.hear(server, &steady(NOW - 2 * HOUR, NOW - 40 * MINUTE)).await;
    suite.hear(server, &steady(NOW - 20 * MINUTE, NOW)).await;
    let (by, paused_at) = (Actor::system(), NOW - 40 * MINUTE);
    suite.registry.pause(server, &Pause::default(), &by, paused_at).await.unwrap().unwrap();
    suite.registry.resume(server, &Actor::system(), NOW - 30 * MINUTE).await.unwrap().unwrap();
    let hour = (NOW - HOUR, NOW);
    assert_eq!(uptime(&suite, server, hour.0, hour.1).await, figure(server, hour, 40 * MINUTE, 50 * MINUTE));
}

pub async fn the_last_24_hours_unless_said_otherwise(place: Place) {
    let (suite, server) = enrolled(place, "web-1").await;
    suite.hear(server, &steady(NOW - 2 * HOUR, NOW)).await;
    let day = (NOW - 24 * HOUR, NOW);
    let read = suite.read(&format!("/servers/{server}/uptime")).await;
    assert_eq!(read, figure(server, day, 2 * HOUR, 2 * HOUR));
    let people = "from=2026-09-21T13:13:20Z&to=2026-09-21T16:13:20+02:00";
    let read = suite.read(&format!("/servers/{server}/uptime?{people}")).await;
    assert_eq!(read, figure(server, (NOW - HOUR, NOW), HOUR, HOUR));
}

pub async fn every_server_has_a_line_and_the_lists_filters_serve(place: Place) {
    let (suite, web) = enrolled(place, "web").await;
    let fresh = suite.enrol("fresh").await;
    suite.hear(web, &steady(NOW - 2 * HOUR, NOW)).await;
    let hour = format!("from={}&to={NOW}", NOW - HOUR);
    let list = suite.read(&format!("/uptime?{hour}")).await;
    let mut lines = [figure(fresh, (NOW - HOUR, NOW), 0, 0), figure(web, (NOW - HOUR, NOW), HOUR, HOUR)];
    lines[0]["name"] = json!("fresh");
    lines[1]["name"] = json!("web");
    assert_eq!(list, json!({"items": lines, "total": 2, "page": 1, "page_size": 50}));
    let page = suite.read(&format!("/uptime?{hour}&sort=-name&page_size=1&page=2")).await;
    assert_eq!((&page["items"], &page["total"]), (&json!([lines[0]]), &json!(2)));
    let unknown = suite.read(&format!("/uptime?{hour}&status=unknown")).await;
    assert_eq!(unknown["items"], json!([lines[0]]));
}

pub async fn many_servers_have_a_figure_a_day_that_adds_up_to_their_uptime(place: Place) {
    let (mut suite, web) = enrolled(place, "web").await;
    let fresh = suite.enrol("fresh").await;
    // NOW is 2026-09-21 14:13:20 UTC. Two days on, with an outage of an hour over the midnight of Berlin (22:00 UTC).
    let midnight = NOW - NOW.rem_euclid(24 * HOUR) + 22 * HOUR;
    suite.hear(web, &steady(NOW - 2 * HOUR, midnight - 20 * MINUTE)).await;
    let now = midnight + 10 * HOUR;
    suite.at(now).await;
    suite.hear(web, &steady(midnight + 40 * MINUTE, now)).await;
    suite.settle(now, NOW - 3 * HOUR).await;
    let read = suite.read("/uptime/days?days=3&zone=Europe/Berlin").await;
    let first = midnight - 48 * HOUR;
    assert_eq!(read["days"], json!([first, first + 24 * HOUR, midnight]));
    assert_eq!((&read["to"], &read["total"]), (&json!(midnight + 24 * HOUR), &json!(2)));
    let [of_fresh, of_web] = [&read["items"][0], &read["items"][1]];
    assert_eq!((&of_fresh["server_id"], &of_fresh["name"]), (&json!(fresh), &json!("fresh")));
    assert_eq!((&of_fresh["expected_ms"], &of_fresh["uptime"]), (&json!([0, 0, 0]), &json!(null)));
    // It was expected from the start of its oldest snapshot.
    let before = midnight - (NOW - 2 * HOUR);
    assert_eq!(of_web["expected_ms"], json!([0, before, 10 * HOUR]));
    // Its last sample before the outage was 10 s before it.
    let heard = before - 20 * MINUTE - 10 * SECOND;
    assert_eq!(of_web["covered_ms"], json!([0, heard, 10 * HOUR - 40 * MINUTE]));
    let whole = suite.read(&format!("/servers/{web}/uptime?from={first}&to={now}")).await;
    assert_eq!(of_web["uptime"], whole["uptime"]);
    let earlier = suite.read(&format!("/uptime/days?days=1&q=web&to={}", NOW - HOUR)).await;
    assert_eq!((earlier["days"].as_array().unwrap().len(), &earlier["total"]), (1, &json!(1)));
    for (query, parameter) in
        [("days=93", "days"), ("zone=Middle/Earth", "zone"), ("days=92&page_size=109", "page_size")]
    {
        let refused = suite.get(&format!("/uptime/days?{query}")).await;
        assert_eq!((refused.status, &refused.body["parameter"]), (400, &json!(parameter)), "{query}");
    }
}

pub async fn servers_are_sorted_by_their_uptime_of_the_last_day(place: Place) {
    let (suite, web) = enrolled(place, "web").await;
    let whole = suite.enrol("whole").await;
    suite.enrol("fresh").await;
    suite.hear(web, &steady(NOW - 2 * HOUR, NOW - HOUR)).await;
    suite.hear(web, &steady(NOW - 30 * MINUTE, NOW)).await;
    suite.hear(whole, &steady(NOW - HOUR, NOW)).await;
    let names = async |sort: &str| {
        let read = suite.read(&format!("/servers?sort={sort}")).await;
        read["items"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names("uptime,name").await, ["web", "whole", "fresh"], "what is not known comes last");
    assert_eq!(names("-uptime").await, ["whole", "web", "fresh"]);
}

pub async fn a_page_of_servers_tells_in_one_answer_how_they_did_lately(place: Place) {
    let (suite, web) = enrolled(place, "web").await;
    let fresh = suite.enrol("fresh").await;
    // Silent for five intervals of 30 s until 5 min ago.
    suite.hear(web, &steady(NOW - 2 * HOUR, NOW - 450 * SECOND)).await;
    suite.hear(web, &steady(NOW - 300 * SECOND, NOW)).await;
    let read = suite.read(&format!("/servers/sparklines?id={web}&id={fresh}")).await;
    assert_eq!((&read["from"], &read["to"]), (&json!(NOW - HOUR), &json!(NOW)));
    let [of_web, of_fresh] = [&read["items"][0], &read["items"][1]];
    assert_eq!((&of_web["server_id"], &of_fresh["server_id"]), (&json!(web), &json!(fresh)));
    let cpu = of_web["cpu"].as_array().unwrap();
    assert_eq!((cpu.len(), &cpu[0], &cpu[19]), (20, &json!(13), &json!(13)));
    assert_eq!(of_web["disk"], json!(vec![json!(null); 20]), "it told of no disk");
    let heard = of_web["heard"].as_array().unwrap();
    let missed: Vec<usize> = (0..30).filter(|place| heard[*place] == json!(0)).collect();
    assert_eq!((heard.len(), missed), (30, vec![15, 16, 17, 18, 19]), "{heard:?}");
    assert_eq!(heard.iter().filter(|share| **share == json!(100)).count(), 25);
    let line = suite.read(&format!("/servers/{web}/uptime")).await;
    assert_eq!((&of_web["uptime"], &of_fresh["uptime"]), (&line["uptime"], &json!(null)));
    assert_eq!(
        (&of_fresh["cpu"], &of_fresh["heard"]),
        (&json!(vec![json!(null); 20]), &json!(vec![json!(null); 30]))
    );
    for query in ["", "?id=x", "?id="] {
        assert_eq!(suite.get(&format!("/servers/sparklines{query}")).await.status, 400, "{query}");
    }
}

pub async fn without_history_there_is_no_figure(place: Place) {
    let (suite, server) = enrolled(place, "web-1").await;
    suite.hear(server, &steady(NOW - HOUR, NOW)).await;
    suite.history.close().await;
    for path in ["uptime", "snapshots", "outages"]
        .map(|what| format!("/servers/{server}/{what}"))
        .into_iter()
        .chain(["/uptime".to_owned(), "/uptime/days".to_owned(), format!("/servers/{server}/samples")])
    {
        let answer = suite.get(&path).await;
        assert_eq!((answer.status, &answer.body["code"]), (503, &json!("unavailable")), "{path}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(suite.get("/status").await.status, 200);
    assert_eq!(suite.get("/servers").await.status, 200);
}

pub async fn the_uptime_of_all_together_is_the_sum_of_their_lines(place: Place) {
    let (suite, one) = enrolled(place, "web-1").await;
    let other = suite.enrol("web-2").await;
    suite.label(one, &[("site", "eu")]).await;
    suite.hear(one, &steady(NOW - 2 * HOUR, NOW - 30 * MINUTE)).await;
    suite.hear(other, &steady(NOW - HOUR, NOW)).await;
    let lines = suite.read("/uptime").await;
    let sum = |field: &str| {
        lines["items"].as_array().unwrap().iter().map(|line| line[field].as_i64().unwrap()).sum::<i64>()
    };
    let total = suite.read("/uptime/total").await;
    let (covered, expected) = (sum("covered_ms"), sum("expected_ms"));
    assert!(expected > covered && covered > 0, "{lines}");
    assert_eq!(
        (&total["servers"], &total["covered_ms"], &total["expected_ms"]),
        (&json!(2), &json!(covered), &json!(expected))
    );
    assert_eq!(total["uptime"], json!(covered as f64 / expected as f64));
    let of_one = suite.read("/uptime/total?label=site:eu").await;
    assert_eq!((&of_one["servers"], &of_one["covered_ms"]), (&json!(1), &lines["items"][0]["covered_ms"]));
    let of_none = suite.read("/uptime/total?q=nobody").await;
    assert_eq!((&of_none["servers"], &of_none["uptime"]), (&json!(0), &json!(null)));
}
