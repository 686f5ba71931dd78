//! A release that is newer than the others beside it.

use sqlx::{Connection, PgConnection};

use crate::stage::{Stage, nobody_is_down};

/// What the next release may do first: it adds, and takes nothing away.
const EXPAND: &str = "ALTER TABLE servers ADD COLUMN rack TEXT;
ALTER TABLE sightings ADD COLUMN seen_by TEXT NOT NULL DEFAULT '';
CREATE TABLE racks (id TEXT PRIMARY KEY);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
VALUES (99999999999999, 'of the next release', TRUE, '\\x00', 0)";

#[tokio::test]
async fn the_next_release_migrates_under_load_and_this_one_goes_on_and_starts_again() {
    let mut stage = Stage::new(2, 2).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    let mut server = PgConnection::connect(&stage.fleet.urls.database).await.unwrap();
    sqlx::raw_sql(EXPAND).execute(&mut server).await.unwrap();
    driving.more(300).await;
    for service in [&mut stage.gates, &mut stage.workers] {
        let old = service.remove(0);
        service.push(old.restart().await.unwrap());
        driving.more(300).await;
    }
    let old = stage.management;
    stage.management = old.restart().await.unwrap();
    driving.more(300).await;
    stage.all_up().await;
    nobody_is_down(&stage.operator().await.status().await.unwrap());
    let journal = driving.end(&mut stage).await;
    stage.finish(&journal).await;
}
