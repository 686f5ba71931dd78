//! Reports: asked for, computed once, brought to the queue; and schedules, which make them.

use std::{collections::BTreeSet, ops::RangeInclusive};

use actix_web::rt::task::JoinHandle;
use chrono::DateTime;
use fleet::{
    MailJob,
    id::{DeliveryId, IncidentId},
};
use queue::{Consumer, in_process};
use registry::{Attempt, Page, PeriodIncidents};
use serde_json::{Value, json};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    place::Place,
    suite::{HOUR, MINUTE, NOW, PASSWORD, SECOND, Suite, steady},
};

const DAY: i64 = 24 * HOUR;

/// The background of one process, and the mail jobs that it publishes.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
    jobs: Consumer<MailJob>,
}

impl Running {
    fn start(suite: &Suite) -> Self {
        let (publisher, jobs) = in_process(100, |_| 1);
        let stop = CancellationToken::new();
        let task = actix_web::rt::spawn(suite.management.clone().run(publisher, stop.clone()));
        Self { stop, task, jobs }
    }

    /// What mail does with the next job: takes it, and writes this outcome.
    async fn deliver(&mut self, suite: &Suite, attempt: &Attempt) -> DeliveryId {
        let job = self.jobs.receive(1).await.unwrap().remove(0);
        let (id, now) = (job.message().delivery, suite.clock.now());
        let claimed = suite.registry.claim_delivery(id, "<1@example.org>", now).await.unwrap().unwrap();
        assert!(suite.registry.settle_delivery(&claimed, attempt, now).await.unwrap());
        job.ack().await;
        id
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn asked() -> Value {
    json!({"from": NOW - HOUR, "to": NOW, "recipients": ["ops@example.org", "OPS@EXAMPLE.org", "boss@Example.org"]})
}

fn daily() -> Value {
    json!({
        "cron": "59 23 * * *", "time_zone": "Europe/Berlin", "window": "last_24h", "recipients": ["ops@example.org"],
    })
}

async fn make(suite: &Suite, body: Value) -> String {
    let made = suite.post("/reports", body).await;
    assert_eq!(made.status, 202, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

/// One that is over, of this server, or of the suite itself.
async fn incident(suite: &Suite, number: u8, server: &str, opened_at: i64, resolved_at: i64) {
    let insert = format!(
        "INSERT INTO incidents (id, rule, rule_name, kind, metric, server, server_name, instance, level, state, transition,
        events, opened_at, began_at, resolved_at, resolution, updated_at) VALUES ('{}', 'rule', 'a rule', 'silent', '',
        '{server}', 'a server', '', 'critical', 'resolved', 2, 2, {opened_at}, {opened_at}, {resolved_at}, 'recovered', 0)",
        IncidentId::new(NOW, [number; 10])
    );
    suite.sql(&insert).await;
}

pub async fn a_report_is_computed_once_and_each_recipient_has_a_delivery(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let web = suite.enrol("web").await;
    suite.enrol("fresh").await;
    suite.at(NOW + 2 * HOUR).await;
    // Silent for ten minutes, and for two.
    let mut samples = steady(NOW, NOW + 30 * MINUTE);
    samples.extend(steady(NOW + 40 * MINUTE, NOW + 50 * MINUTE));
    samples.extend(steady(NOW + 52 * MINUTE, NOW + 2 * HOUR));
    suite.hear(web, &samples).await;
    suite.settle(NOW + 2 * HOUR, NOW).await;
    incident(&suite, 1, &web.to_string(), NOW + 32 * MINUTE, NOW + 40 * MINUTE).await;
    incident(&suite, 2, "", NOW + HOUR, NOW + HOUR + MINUTE).await;
    incident(&suite, 3, &web.to_string(), NOW - HOUR, NOW - MINUTE).await;
    let body =
        json!({"from": NOW, "to": NOW + 2 * HOUR, "recipients": ["ops@example.org"], "language": "zh"});
    let id = make(&suite, body).await;
    assert_eq!(suite.read(&format!("/reports/{id}")).await["state"], "queued");
    let mut running = Running::start(&suite);
    running.deliver(&suite, &Attempt::Sent).await;
    let report = suite.read(&format!("/reports/{id}")).await;
    assert_eq!((&report["state"], &report["deliveries"][0]["state"]), (&json!("ready"), &json!("sent")));
    assert_eq!(report["deliveries"][0]["message_id"], "<1@example.org>");
    let rows = suite.registry.report_rows(id.parse().unwrap(), 0, 10).await.unwrap();
    assert_eq!((rows[0].name.as_str(), rows[0].expected_ms), ("fresh", 0));
    assert_eq!((rows[1].name.as_str(), rows[1].expected_ms), ("web", 2 * HOUR));
    assert_eq!(rows[1].covered_ms, 2 * HOUR - 12 * MINUTE);
    assert_eq!(rows[1].longest_outage, Some((NOW + 30 * MINUTE, 10 * MINUTE)));
    assert_eq!((rows[0].incidents, rows[0].longest_incident_ms, rows[0].resolved_in_ms), (0, None, None));
    let eight = Some(8 * MINUTE);
    assert_eq!((rows[1].incidents, rows[1].longest_incident_ms, rows[1].resolved_in_ms), (1, eight, eight));
    let (report, _) = suite.registry.report(id.parse().unwrap()).await.unwrap().unwrap();
    let incidents = report.incidents.unwrap();
    assert_eq!((incidents.all.count, incidents.all.mean_ms()), (2, Some(9 * MINUTE / 2)));
    assert_eq!((incidents.longest[0].length_ms, report.language.as_str()), (8 * MINUTE, "zh"));
    // One about some servers says nothing of the others, nor of the suite.
    let body = json!({"from": NOW, "to": NOW + 2 * HOUR, "recipients": ["ops@example.org"], "filter": {"q": "fresh"}});
    let id = make(&suite, body).await;
    running.deliver(&suite, &Attempt::Sent).await;
    let (report, _) = suite.registry.report(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((report.incidents, report.language.as_str()), (Some(PeriodIncidents::default()), "en"));
    running.stop().await;
}

pub async fn a_mail_that_is_to_be_tried_again_is_published_again_when_it_is_due(place: Place) {
    let suite = Suite::spawn(place).await;
    let id = make(&suite, asked()).await;
    let mut running = Running::start(&suite);
    let due = NOW + 10 * MINUTE;
    let mut first = BTreeSet::new();
    for _ in 0..2 {
        first.insert(running.deliver(&suite, &Attempt::Again("greylisted".to_owned(), due)).await);
    }
    let report = suite.read(&format!("/reports/{id}")).await;
    let recipients: Vec<_> =
        report["deliveries"].as_array().unwrap().iter().map(|one| &one["recipient"]).collect();
    assert_eq!(recipients, ["ops@example.org", "boss@example.org"]);
    assert_eq!(report["deliveries"][0]["error"], "greylisted");
    suite.clock.set(due);
    let mut second = BTreeSet::new();
    for _ in 0..2 {
        second.insert(running.deliver(&suite, &Attempt::Failed("no such user".to_owned())).await);
    }
    assert_eq!(first, second);
    let report = suite.read(&format!("/reports/{id}")).await;
    assert_eq!(
        (&report["deliveries"][1]["state"], &report["deliveries"][1]["attempts"]),
        (&json!("failed"), &json!(2))
    );
    running.stop().await;
}

pub async fn a_sheet_is_attached_as_what_was_asked_for(place: Place) {
    let suite = Suite::spawn(place).await;
    for (asked_for, kept) in [(json!(null), "xlsx"), (json!("xlsx"), "xlsx"), (json!("csv"), "csv")] {
        let mut body = asked();
        body["format"] = asked_for;
        let id = make(&suite, body).await;
        assert_eq!(suite.read(&format!("/reports/{id}")).await["format"], kept);
    }
    // What a release made that knew none.
    suite.sql("INSERT INTO reports (id, from_at, to_at, time_zone, server_filter, state, claimed_until, created_at)
        VALUES ('0190a5c2-7b5e-7c3d-8e4f-0123456789ab', 0, 1, 'UTC', '{}', 'queued', 0, 0)").await;
    let old = suite.read("/reports/0190a5c2-7b5e-7c3d-8e4f-0123456789ab").await;
    assert_eq!(old["format"], "xlsx");
    assert_eq!(old["language"], "en");
    let mut body = daily();
    body["format"] = json!("csv");
    body["language"] = json!("vi");
    let schedule = suite.post("/report-schedules", body).await.body;
    assert_eq!((&schedule["format"], &schedule["language"]), (&json!("csv"), &json!("vi")));
    suite.clock.advance(DAY);
    let running = Running::start(&suite);
    let of_schedule = async || {
        let (reports, _) = suite.registry.reports(Page { page: 1, page_size: 50 }).await.unwrap();
        reports.into_iter().find(|report| report.schedule.is_some()).map(|report| report.format)
    };
    eventually("its report", async || of_schedule().await.is_some()).await;
    assert_eq!(of_schedule().await.unwrap(), "csv");
    running.stop().await;
    let path = format!("/report-schedules/{}", schedule["id"].as_str().unwrap());
    let mut suite = suite;
    suite.log_in().await;
    let changed = suite.patch(&path, "*", json!({"format": "xlsx"})).await;
    assert_eq!((&changed.body["format"], &changed.body["cron"]), (&json!("xlsx"), &schedule["cron"]));
}

pub async fn what_no_report_can_be_made_of_is_refused(place: Place) {
    let suite = Suite::spawn(place).await;
    let with = |field: &str, value: Value| {
        let mut body = asked();
        body[field] = value;
        body
    };
    for (body, told) in [
        (with("from", json!(NOW)), "from"),
        (with("to", json!("yesterday")), "to"),
        (with("from", json!(-1)), "from"),
        (with("recipients", json!([])), "recipients"),
        (with("recipients", json!(vec!["a@example.org"; 51])), "recipients"),
        (with("recipients", json!(["a@example.org", "b@elsewhere.example"])), "MAIL_ALLOWED_DOMAINS"),
        (with("recipients", json!(["a@example.org\r\nBcc: b@example.org"])), "recipients[0]"),
        (with("time_zone", json!("Mars/Olympus")), "time_zone"),
        (with("filter", json!({"status": "asleep"})), "filter.status"),
        (with("filter", json!({"label": ["site"]})), "filter.label"),
        (with("filter", json!({"q": "\u{0}"})), "filter"),
        (with("format", json!("pdf")), "format is neither xlsx nor csv"),
        (with("language", json!("de")), "language must be en, vi, zh or sq"),
    ] {
        let answer = suite.post("/reports", body).await;
        assert_eq!((answer.status, &answer.body["code"]), (422, &json!("invalid_body")), "{answer:?}");
        assert!(answer.body["detail"].as_str().unwrap().contains(told), "{told}: {answer:?}");
    }
    assert_eq!(suite.read("/reports").await["total"], 0);
    assert_eq!(suite.get("/reports/0190a5c2-7b5e-7c3d-8e4f-0123456789ab").await.status, 404);
}

pub async fn a_schedule_is_made_shown_changed_and_deleted(place: Place) {
    let suite = Suite::spawn(place).await;
    let preview = suite.post("/report-schedules/preview", daily()).await;
    assert_eq!(preview.status, 200, "{preview:?}");
    assert_eq!(suite.read("/report-schedules").await["total"], 0);
    let made = suite.post("/report-schedules", daily()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["next_runs"], preview.body["next_runs"]);
    let run = &made.body["next_runs"][0];
    assert_eq!(run["local"], "2026-09-21T23:59");
    let at = DateTime::parse_from_rfc3339("2026-09-21T23:59:00+02:00").unwrap().timestamp_millis();
    assert_eq!((&run["at"], &run["from"], &run["to"]), (&json!(at), &json!(at - DAY), &json!(at)));
    let path = format!("/report-schedules/{}", made.body["id"].as_str().unwrap());
    assert_eq!(suite.read(&path).await, made.body);
    let changed = suite.patch(&path, "\"1\"", json!({"cron": "0 6 * * 1", "window": "last_week"})).await;
    assert_eq!((changed.status, &changed.body["next_runs"][0]["local"]), (200, &json!("2026-09-28T06:00")));
    assert_eq!(changed.body["recipients"], made.body["recipients"]);
    for (field, value) in [
        ("cron", json!("0 0 30 2 *")),
        ("cron", json!("@daily")),
        ("time_zone", json!("CEST+")),
        ("window", json!("today")),
    ] {
        let mut body = daily();
        body[field] = value;
        assert_eq!(suite.post("/report-schedules", body).await.status, 422, "{field}");
    }
    assert_eq!(suite.delete(&path).await.status, 204);
    assert_eq!(suite.delete(&path).await.status, 404);
    assert_eq!(suite.get(&path).await.status, 404);
}

/// As soon as there are so many. Where two more processes are at work on this thread, the registry may be unavailable for a
/// moment, as it may be to them.
async fn until_total(suite: &Suite, wanted: RangeInclusive<u64>) {
    eventually(&format!("{wanted:?} reports"), async || {
        let listed = suite.registry.reports(Page { page: 1, page_size: 1 }).await;
        listed.is_ok_and(|(_, total)| wanted.contains(&total))
    })
    .await;
}

pub async fn missed_runs_of_the_last_day_are_caught_up_once(place: Place) {
    let suite = Suite::spawn(place).await;
    let mut body = daily();
    (body["cron"], body["time_zone"]) = (json!("0 */6 * * *"), json!("UTC"));
    assert_eq!(suite.post("/report-schedules", body).await.status, 201);
    // Nobody looked for three days.
    suite.clock.advance(3 * DAY);
    let running = Running::start(&suite);
    until_total(&suite, 4..=4).await;
    running.stop().await;
    let again = Running::start(&suite);
    suite.clock.advance(6 * HOUR);
    until_total(&suite, 5..=5).await;
    again.stop().await;
}

/// On one PostgreSQL, over the night that has an hour twice.
#[actix_web::test]
async fn three_replicas_make_one_report_a_day() {
    crate::place::fleet(async |place: Place| {
        let suite = Suite::spawn(place).await;
        suite.clock.set(DateTime::parse_from_rfc3339("2026-10-22T12:00:00Z").unwrap().timestamp_millis());
        let others = [suite.replica(), suite.replica()];
        // Past the interface, to which the log-in is out of date by now.
        let schedule = registry::ReportSchedule {
            id: fleet::id::ScheduleId::new(NOW, [1; 10]),
            cron: "30 2 * * *".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            window: "yesterday".to_owned(),
            recipients: vec!["ops@example.org".to_owned()],
            filter: "{}".to_owned(),
            format: "xlsx".to_owned(),
            language: "en".to_owned(),
            since: suite.clock.now(),
            version: 1,
            created_at: suite.clock.now(),
            updated_at: suite.clock.now(),
        };
        suite.registry.make_schedule(&schedule, &registry::Actor::system()).await.unwrap();
        for one in [&suite, &others[0], &others[1]] {
            one.warm().await;
        }
        let mut running: Vec<_> = [&suite, &others[0], &others[1]].map(Running::start).into();
        for day in 1..=6 {
            suite.clock.advance(24 * HOUR);
            until_total(&suite, day..=u64::MAX).await;
            if day == 3 {
                // One is gone for a day, and comes back.
                running.remove(0).stop().await;
            }
            if day == 4 {
                running.push(Running::start(&suite));
            }
        }
        suite.clock.advance(30 * SECOND);
        for one in running {
            one.stop().await;
        }
        let (reports, total) = suite.registry.reports(Page { page: 1, page_size: 50 }).await.unwrap();
        let periods: BTreeSet<_> = reports.iter().map(|report| report.from).collect();
        assert_eq!((total, periods.len()), (6, 6));
        let hours: BTreeSet<_> = reports.iter().map(|report| (report.to - report.from) / HOUR).collect();
        assert_eq!(hours, [24, 25].into());
    })
    .await;
}

pub async fn who_asks_for_more_mails_than_there_may_be_is_told_when_to_come_back(place: Place) {
    let suite = Suite::spawn(place).await;
    let token = suite.api_token(&["report:write"]).await["token"].as_str().unwrap().to_owned();
    let recipients: Vec<_> = (0..50).map(|number| format!("{number}@example.org")).collect();
    let body = json!({"from": NOW - HOUR, "to": NOW, "recipients": recipients});
    let ask = async |token: &str| {
        suite.send(suite.call(reqwest::Method::POST, "/reports").bearer_auth(token).json(&body)).await
    };
    // Without a server each mail counts for 1,000 of the 1,000,000 rows.
    for _ in 0..10 {
        assert_eq!(ask(&suite.token).await.status, 202);
        assert_eq!(ask(&token).await.status, 202);
    }
    let replica = suite.replica();
    for beyond in [ask(&suite.token).await, ask(&token).await, replica.post("/reports", body.clone()).await] {
        assert_eq!((beyond.status, &beyond.body["code"]), (429, &json!("rate_limited")), "{beyond:?}");
        assert_eq!(beyond.headers["retry-after"], "3600");
    }
    assert_eq!(
        suite.read("/reports?page_size=1").await["total"],
        20,
        "nothing is left of one that is refused"
    );
    let user = json!({"username": "ops", "password": PASSWORD, "role": "admin"});
    assert_eq!(suite.post("/users", user).await.status, 201);
    let other = suite.post("/sessions", json!({"username": "ops", "password": PASSWORD})).await;
    let other = other.body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(ask(&other).await.status, 202, "everybody has their own");
    suite.clock.advance(HOUR);
    assert_eq!(ask(&token).await.status, 202);
}
