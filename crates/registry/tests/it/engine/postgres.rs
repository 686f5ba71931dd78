//! What only a server of its own can do: be away, stall, refuse, and be shared.

use std::time::Duration;

use registry::{Actor, PostgresUrl, Registry, RegistryError};
use sqlx::{Connection, PgConnection, SqliteConnection};
use testkit::Proxy;

use crate::{
    schema::{self, Schema},
    store::{CLOCK, FIRST, NOW, Store, sighting},
};

/// More than a call may take.
const BOUND: Duration = Duration::from_secs(16);

fn is_unavailable(answer: Result<(), RegistryError>) -> bool {
    matches!(answer, Err(RegistryError::Unavailable(_)))
}

async fn ping_within_bound(registry: &Registry) -> Result<(), RegistryError> {
    tokio::time::timeout(BOUND, registry.ping()).await.unwrap()
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_comes_back() {
    let schema = Schema::make().await;
    schema.open().migrate().await.unwrap();
    let proxy = Proxy::start(schema::server()).await;
    proxy.cut();
    let registry = Registry::open_postgres(&schema.url_at(proxy.addr()).parse().unwrap());
    assert!(is_unavailable(ping_within_bound(&registry).await));
    assert!(is_unavailable(registry.migrate().await));
    for _ in 0..2 {
        proxy.mend();
        testkit::eventually("it is back", async || registry.ping().await.is_ok()).await;
        // Several connections, all of which then break.
        let ping = || registry.ping();
        let (one, two, three) = tokio::join!(ping(), ping(), ping());
        one.and(two).and(three).unwrap();
        proxy.cut();
        assert!(is_unavailable(ping_within_bound(&registry).await));
    }
    schema.remove().await;
}

#[tokio::test]
async fn nobody_notices_a_connection_that_broke_while_it_was_not_used() {
    let schema = Schema::make().await;
    let store = Store::postgres(schema.clone()).await;
    let id = store.enrol(1, "web").await;
    let name = "registry-test-that-breaks";
    let registry =
        Registry::open_postgres(&format!("{}&application_name={name}", schema.url()).parse().unwrap());
    let generation = registry.revoke(id, &Actor::system(), NOW).await.unwrap().unwrap();
    let mut server = PgConnection::connect(&schema.url()).await.unwrap();
    let end = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    let ended: i64 = sqlx::query_scalar(end).bind(name).fetch_one(&mut server).await.unwrap();
    assert!(ended > 0);
    // Longer than a connection is trusted; nothing tells from outside that it was.
    tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(registry.revoke(id, &Actor::system(), NOW).await.unwrap(), Ok(generation + 1));
    schema.remove().await;
}

#[tokio::test]
async fn a_server_that_stalls_is_unavailable_within_a_bound() {
    let schema = Schema::make().await;
    let store = Store::postgres(schema.clone()).await;
    let id = store.enrol(1, "web").await;
    let proxy = Proxy::start(schema::server()).await;
    let registry = Registry::open_postgres(&schema.url_at(proxy.addr()).parse().unwrap());
    registry.ping().await.unwrap();
    proxy.stall();
    // More calls than connections: those that find none give up too.
    let mut calls = Vec::new();
    for _ in 0..20 {
        let registry = registry.clone();
        calls.push(tokio::spawn(async move {
            let sighting = sighting(id, NOW);
            tokio::time::timeout(BOUND, registry.sight(&[sighting], CLOCK)).await.unwrap()
        }));
    }
    for call in calls {
        assert!(is_unavailable(call.await.unwrap()));
    }
    proxy.mend();
    testkit::eventually("it is back", async || registry.sight(&[sighting(id, NOW)], CLOCK).await.is_ok())
        .await;
    // The stall took none of its connections for good.
    let mut calls = Vec::new();
    for _ in 0..20 {
        let registry = registry.clone();
        calls.push(tokio::spawn(async move { registry.ping().await }));
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    schema.remove().await;
}

#[tokio::test]
async fn a_row_that_someone_holds_is_unavailable_within_a_bound() {
    let schema = Schema::make().await;
    let store = Store::postgres(schema.clone()).await;
    let id = store.enrol(1, "web").await;
    let mut holder = PgConnection::connect(&schema.url()).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("UPDATE versions SET version = version").execute(&mut *held).await.unwrap();
    let error = tokio::time::timeout(BOUND, store.registry.revoke(id, &Actor::system(), NOW))
        .await
        .unwrap()
        .unwrap_err();
    // The server ended it, so the connection is still good.
    assert!(error.to_string().contains("statement timeout"), "{error}");
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
    held.rollback().await.unwrap();
    // Nothing of what failed has stayed.
    assert_eq!(store.registry.revoke(id, &Actor::system(), NOW).await.unwrap(), Ok(FIRST + 1));
    assert_eq!(store.registry.denylist().await.unwrap().0, NOW);
    schema.remove().await;
}

#[tokio::test]
async fn migrators_at_once_migrate_once() {
    let schema = Schema::make().await;
    let mut migrators = Vec::new();
    for _ in 0..5 {
        let registry = schema.open();
        migrators.push(tokio::spawn(async move { registry.migrate().await }));
    }
    for migrator in migrators {
        migrator.await.unwrap().unwrap();
    }
    assert!(schema.open().has_schema().await.unwrap());
    schema.remove().await;
}

#[tokio::test]
async fn who_only_waits_for_the_schema_makes_none() {
    let schema = Schema::make().await;
    let registry = schema.open();
    assert!(!registry.has_schema().await.unwrap());
    assert!(!registry.has_schema().await.unwrap());
    let error = registry.ping().await.unwrap_err().to_string();
    assert!(error.contains("migrates the schema"), "{error}");
    schema.remove().await;
}

#[tokio::test]
async fn a_refusal_says_what_to_do_and_no_password() {
    let schema = Schema::make().await;
    let wrong = schema.url_of(schema::options().password("s3cr3t-of-ours"));
    let nowhere = schema.url_of(schema::options().database("no_such_database"));
    for (url, wanted) in [(wrong, "correct the user and the password"), (nowhere, "create this database")] {
        let registry = Registry::open_postgres(&url.parse().unwrap());
        for error in [registry.ping().await.unwrap_err(), registry.migrate().await.unwrap_err()] {
            assert!(error.to_string().contains(wanted), "{error}");
            assert!(!format!("{error} {error:?}").contains("s3cr3t-of-ours"), "{error:?}");
            assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
        }
    }
    schema.remove().await;
}

#[tokio::test]
async fn what_is_no_url_is_refused_before_anything_is_opened() {
    for url in [
        "",
        "localhost:5432",
        "mysql://user:s3cr3t@host/database",
        "postgres://user:s3cr3t@host:port/database",
        "postgres://user:s3cr3t@host/database?sslmode=perhaps",
    ] {
        let Err(error) = url.parse::<PostgresUrl>() else { panic!("{url}") };
        let text = format!("{error} {error:?}");
        assert!(text.contains("postgres://") && !text.contains("s3cr3t"), "{text}");
    }
}

/// Table, column and whether it may be absent.
type Columns = Vec<(String, String, bool)>;

#[tokio::test]
async fn both_engines_have_the_same_tables_and_columns() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    Registry::open_sqlite(&path).await.unwrap().migrate().await.unwrap();
    let mut sqlite = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let of_sqlite: Columns = sqlx::query_as(
        "SELECT t.name, c.name, NOT c.\"notnull\" FROM sqlite_master t JOIN pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name <> '_sqlx_migrations' ORDER BY t.name, c.name",
    )
    .fetch_all(&mut sqlite)
    .await
    .unwrap();

    let schema = Schema::make().await;
    schema.open().migrate().await.unwrap();
    let mut postgres = PgConnection::connect(&schema.url()).await.unwrap();
    let of_postgres: Columns = sqlx::query_as(
        "SELECT table_name::text, column_name::text, is_nullable = 'YES' FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name <> '_sqlx_migrations'
         ORDER BY table_name::text COLLATE \"C\", column_name::text COLLATE \"C\"",
    )
    .fetch_all(&mut postgres)
    .await
    .unwrap();
    assert_eq!(of_sqlite, of_postgres);
    assert!(of_sqlite.len() > 50, "{of_sqlite:?}");

    let sorted_by_locale: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name <> '_sqlx_migrations'
         AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'",
    )
    .fetch_all(&mut postgres)
    .await
    .unwrap();
    assert_eq!(sorted_by_locale, []);
    schema.remove().await;
}
