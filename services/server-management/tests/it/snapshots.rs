use serde_json::json;

use crate::{
    place::Place,
    suite::{HOUR, MINUTE, NOW, SECOND, Suite, steady},
};

pub async fn a_range_is_reduced_to_its_points(place: Place) {
    let suite = Suite::spawn(place).await;
    let server = suite.enrol("web-1").await;
    suite.hear(server, &steady(NOW - 10 * MINUTE, NOW)).await;
    let (from, to) = (NOW - 4 * MINUTE, NOW);
    let read = suite.read(&format!("/servers/{server}/snapshots?from={from}&to={to}&points=2")).await;
    let cpu = json!({"avg": 12.5, "max": 12.5});
    let points =
        json!([{"at": from, "count": 4, "cpu": cpu}, {"at": from + 2 * MINUTE, "count": 4, "cpu": cpu}]);
    assert_eq!(read, json!({"server_id": server, "from": from, "to": to, "points": points}));
}

pub async fn the_last_hour_in_60_points_unless_said_otherwise(place: Place) {
    let suite = Suite::spawn(place).await;
    let server = suite.enrol("web-1").await;
    suite.hear(server, &steady(NOW - 2 * HOUR, NOW - SECOND)).await;
    let read = suite.read(&format!("/servers/{server}/snapshots")).await;
    assert_eq!((&read["from"], &read["to"]), (&json!(NOW - HOUR), &json!(NOW)));
    assert_eq!(read["points"].as_array().unwrap().len(), 60);
}

pub async fn a_range_is_told_part_by_part_of_its_newest_snapshots(place: Place) {
    let suite = Suite::spawn(place).await;
    let server = suite.enrol("web-1").await;
    suite.hear(server, &steady(NOW - 10 * MINUTE, NOW)).await;
    let (from, to) = (NOW - 4 * MINUTE, NOW);
    let read = suite.read(&format!("/servers/{server}/samples?from={from}&to={to}&points=2")).await;
    assert_eq!((&read["server_id"], &read["from"], &read["to"]), (&json!(server), &json!(from), &json!(to)));
    let samples = read["samples"].as_array().unwrap();
    let times: Vec<i64> = samples.iter().map(|sample| sample["sampled_at"].as_i64().unwrap()).collect();
    assert_eq!(times, [to - 2 * MINUTE - 30 * SECOND, to - 30 * SECOND]);
    assert_eq!((&samples[0]["cpu"]["total"], &samples[0]["disks"]), (&json!(12.5), &json!([])));
    assert_eq!(suite.get(&format!("/servers/{server}/samples?points=301")).await.status, 400);
    assert_eq!(suite.get("/servers/01a0c450-6c00-7909-8909-090909090909/samples").await.status, 404);
}
