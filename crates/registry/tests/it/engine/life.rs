//! Opening, migrating, closing.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use fleet::id::{SessionId, UserId};
use registry::{Action, Actor, AuditFilter, Pause, Registry, RegistryError, Roll, Sighting};

use crate::store::{ALL, CLOCK, NOW, Store, ask, host, refresh_token, sighting};

pub async fn reopening_keeps_everything(mut store: Store) {
    let id = store.enrol(1, "web").await;
    let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    store.set_labels(id, &labels, NOW).await;
    let told = Sighting { facts: Some((NOW, host("web"))), ..sighting(id, NOW) };
    store.registry.sight(&[told], CLOCK).await.unwrap();
    store.registry.pause(id, &Pause::default(), &Actor::system(), NOW).await.unwrap().unwrap();
    store.registry.revoke(id, &Actor::system(), NOW).await.unwrap().unwrap();
    store.registry.make_first_admin(UserId::new(NOW, [1; 10]), "admin", "hash", NOW).await.unwrap();
    let user = store.registry.user_by_name("admin").await.unwrap().unwrap();
    let session = SessionId::new(NOW, [1; 10]);
    store
        .registry
        .begin_session(session, &user, refresh_token(1, 1), &Actor::system(), NOW, NOW + 9)
        .await
        .unwrap();
    let before = (
        store.server(id).await,
        store.registry.denylist().await.unwrap(),
        store.registry.pauses(&[id]).await.unwrap(),
        store.registry.standing(&[id]).await.unwrap(),
        store.registry.enrolment_tokens(ALL).await.unwrap(),
    );
    store.restart().await;
    let after = (
        store.server(id).await,
        store.registry.denylist().await.unwrap(),
        store.registry.pauses(&[id]).await.unwrap(),
        store.registry.standing(&[id]).await.unwrap(),
        store.registry.enrolment_tokens(ALL).await.unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!(store.registry.open_session(session).await.unwrap().unwrap().user.id, user.id);
}

pub async fn migrating_twice_is_once(store: Store) {
    let id = store.enrol(1, "web").await;
    store.registry.migrate().await.unwrap();
    store.registry.ping().await.unwrap();
    assert_eq!(store.server(id).await.name, "web");
}

pub async fn a_later_schema_is_tolerated(mut store: Store) {
    let id = store.enrol(1, "web").await;
    store.execute("ALTER TABLE servers ADD COLUMN of_a_later_release TEXT NOT NULL DEFAULT ''").await;
    store
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'of a later release', true, 'x', 1)",
        )
        .await;
    store.restart().await;
    assert!(store.registry.has_schema().await.unwrap());
    assert_eq!(store.server(id).await.name, "web");
    store.registry.enrol(&ask(2, "db")).await.unwrap().unwrap();
}

pub async fn a_migration_that_was_edited_is_refused(store: Store) {
    store.execute("UPDATE _sqlx_migrations SET checksum = 'x'").await;
    let error = store.registry.migrate().await.unwrap_err();
    assert!(matches!(error, RegistryError::Schema(_)), "{error}");
}

pub async fn a_closed_registry_is_unavailable(store: Store) {
    store.registry.close().await;
    let error = store.registry.ping().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
    let error = store.registry.counts(&Roll::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
}

pub async fn an_empty_store_is_unavailable_until_it_is_migrated(store: Store) {
    let registry = store.empty().await;
    assert!(matches!(registry.ping().await, Err(RegistryError::Unavailable(_))));
    registry.migrate().await.unwrap();
    registry.ping().await.unwrap();
}

pub async fn whoever_needs_the_schema_is_told_that_it_is_missing(store: Store) {
    let registry = store.empty().await;
    assert!(!registry.has_schema().await.unwrap());
    let missing = registry.expect_schema().await;
    assert!(matches!(&missing, Err(RegistryError::Schema(why)) if why.contains("migrates")), "{missing:?}");
    registry.migrate().await.unwrap();
    registry.expect_schema().await.unwrap();
    assert!(registry.has_schema().await.unwrap());
}

pub async fn an_older_schema_is_not_enough(store: Store) {
    assert!(store.registry.has_schema().await.unwrap());
    store.execute("UPDATE _sqlx_migrations SET version = -version").await;
    assert!(!store.registry.has_schema().await.unwrap());
    store.execute("DELETE FROM _sqlx_migrations").await;
    assert!(!store.registry.has_schema().await.unwrap());
}

pub async fn actions_that_were_renamed_are_found_under_their_new_name(mut store: Store) {
    store
        .execute(
            "INSERT INTO audit (at, actor_kind, action, object_kind)
             VALUES (1, 'system', 'report_schedule.update', 'report_schedule')",
        )
        .await;
    store.execute("DELETE FROM _sqlx_migrations WHERE version = 7").await;
    store.restart().await;
    let action = Some(Action::ReportScheduleChange.as_str().to_owned());
    let renamed = AuditFilter { action, ..AuditFilter::default() };
    let (entries, _) = store.registry.audit(&renamed, ALL).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.at).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let registry = Registry::open_sqlite(&path).await.unwrap();
    registry.migrate().await.unwrap();
    for end in ["", "-wal"] {
        let file = format!("{}{end}", path.display());
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}: {mode:o}");
    }
}
