//! A database that the release before wrote: `tests/kept/postgres.sql` is its dump, kept when that release was current, with
//! the same content as the data folder that `rollcall` keeps in its tests.

use fleet::{
    Scope,
    id::{DeliveryId, ReportId},
    liveness::Beat,
};
use registry::{AuditFilter, Page, Roll, ServerFilter, SortKey};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{outbox, schema::Schema, store::by};

const DUMP: &str = include_str!("../kept/postgres.sql");

/// When it was dumped, in Unix ms.
const THEN: i64 = 1_795_780_294_041;

/// SHA-256 of its API token.
const TOKEN: [u8; 32] = [
    0x24, 0x81, 0x52, 0x9c, 0x93, 0x09, 0xf4, 0xbc, 0x7b, 0x65, 0x18, 0x28, 0x68, 0x6f, 0xd3, 0x0a, 0x82,
    0x09, 0xb2, 0xbb, 0xed, 0xc0, 0xef, 0x93, 0x08, 0xd0, 0xc1, 0x08, 0x35, 0x25, 0x15, 0x9a,
];

#[tokio::test]
async fn a_database_of_the_release_before_is_migrated_and_keeps_everything() {
    let schema = Schema::make().await;
    let mut server = PgConnection::connect(&schema.url()).await.unwrap();
    sqlx::raw_sql(DUMP).execute(&mut server).await.unwrap();
    let (report, delivery) = (ReportId::new(THEN, [1; 10]), DeliveryId::new(THEN, [1; 10]));
    for sql in outbox::kept(report, delivery) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server).await.unwrap();
    }
    let registry = schema.open();
    registry.migrate().await.unwrap();
    outbox::is_kept(&registry, report, delivery).await;

    let page = Page { page: 1, page_size: 10 };
    let (servers, total) = registry
        .servers(&ServerFilter::default(), &[by(SortKey::Name)], page, &Roll::default())
        .await
        .unwrap();
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!((names, total), (vec!["db-1", "made-1", "old-1", "web-1"], 4));
    let [db, _, old, web] = servers.try_into().unwrap();
    assert_eq!((db.address.as_deref(), db.paused.is_some()), (Some("192.0.2.7"), true));
    assert_eq!((web.labels["env"].as_str(), web.generation, old.generation), ("prod", 1, 2));
    let facts = web.facts.unwrap();
    assert_eq!((facts.hostname.as_deref(), web.alternation), (Some("web-1.example.org"), None));
    let marks = registry.standing(&[web.id]).await.unwrap()[&web.id].sighting.unwrap();
    let Beat { received_at, silent_at } = marks.beat;
    assert!(received_at < silent_at && received_at <= THEN, "{marks:?}");
    assert_eq!(registry.denylist().await.unwrap().1.get(&old.id), Some(&2));

    let ops = registry.user_by_name("ops").await.unwrap().unwrap();
    assert!(ops.password_hash.starts_with("$argon2id$"), "{ops:?}");
    let (_, bearer) = registry.api_token_user(TOKEN, THEN).await.unwrap().unwrap();
    assert_eq!(bearer.scopes, [Scope::ServerRead]);
    let renamed = AuditFilter { action: Some("report_schedule.change".to_owned()), ..AuditFilter::default() };
    assert_eq!(registry.audit(&renamed, page).await.unwrap().1, 1);
    schema.remove().await;
}
