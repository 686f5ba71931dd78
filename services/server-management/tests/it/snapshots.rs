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
