//! Deliveries about anything, and beside a release that knows them as those of reports alone.

use std::path::Path;

use fleet::{
    MailJob, Millis, Subject,
    id::{DeliveryId, ReportId},
};
use registry::{Actor, Attempt, Delivery, DeliveryState, PeriodIncidents, Registry};
use sqlx::{Connection, SqliteConnection, migrate::Migrator};
use testkit::tempdir;

use crate::{
    report::{new_report, ready},
    store::{NOW, Store},
};

const MINUTE: Millis = 60_000;

fn incident() -> Subject {
    Subject::new("incident", "7").unwrap()
}

/// A delivery that is due at `NOW`, about something that has no place in this registry yet.
async fn told(store: &Store, number: u8) -> DeliveryId {
    let id = DeliveryId::new(NOW, [number; 10]);
    let sql = format!(
        "INSERT INTO deliveries
             (id, kind, subject_id, place, recipient, state, attempts, publish_at, created_at, updated_at)
         VALUES ('{id}', 'incident', '7', 0, 'a@x.example', 'queued', 0, {NOW}, {NOW}, {NOW})"
    );
    store.execute(&sql).await;
    id
}

async fn claim(store: &Store, id: DeliveryId) -> Option<Delivery> {
    store.registry.claim_delivery(id, "<1@x.example>", NOW).await.unwrap()
}

async fn state(store: &Store, id: DeliveryId, state: &str) -> bool {
    store.number(&format!("SELECT COUNT(*) FROM deliveries WHERE id = '{id}' AND state = '{state}'")).await
        == 1
}

pub async fn a_mail_is_sent_at_most_once_whatever_it_is_about(store: Store) {
    let (delivery, lost) = (told(&store, 1).await, told(&store, 2).await);
    let due = async |now| store.registry.take_due_deliveries(now, now + MINUTE, 10).await.unwrap();
    let job = |delivery| MailJob { delivery, about: Some(incident()) };
    assert_eq!((due(NOW - 1).await, due(NOW).await.len()), (vec![], 2));
    store.registry.published(delivery, NOW + MINUTE, NOW + 9 * MINUTE).await.unwrap();
    assert_eq!(due(NOW + MINUTE).await, [job(lost)]);
    let first = claim(&store, delivery).await.unwrap();
    assert_eq!((&first.about, first.attempts, claim(&store, delivery).await), (&incident(), 1, None));
    let again = Attempt::Again("later".to_owned(), NOW + 2 * MINUTE);
    assert!(store.registry.settle_delivery(&first, &again, NOW).await.unwrap());
    assert!(due(NOW + 2 * MINUTE).await.contains(&job(delivery)));
    let second = claim(&store, delivery).await.unwrap();
    assert!(store.registry.settle_delivery(&second, &Attempt::Sent, NOW).await.unwrap());
    assert!(state(&store, delivery, "sent").await && claim(&store, delivery).await.is_none());
    assert!(claim(&store, lost).await.is_some());
    assert_eq!(
        store.registry.report_counts().await.unwrap().deliveries[..3],
        [("queued", 0), ("sending", 1), ("sent", 1)]
    );
    assert_eq!(store.registry.give_up_deliveries(NOW + 1, NOW + MINUTE).await.unwrap(), 1);
    assert!(state(&store, lost, "unknown").await);
    let waiting = told(&store, 3).await;
    let done = store.registry.after_restore(None, &Actor::system(), NOW).await.unwrap();
    assert_eq!((done.deliveries, state(&store, waiting, "unknown").await), (1, true));
}

/// The statements of the release before, as it runs them while this one already migrated.
pub async fn the_release_before_makes_and_sends_mails_beside_this_one(store: Store) {
    // What it makes is sent by this one.
    let report = new_report(1);
    store.registry.make_report(&report, None, &Actor::system(), NOW).await.unwrap();
    let (id, old) = (report.id, DeliveryId::new(NOW, [9; 10]));
    let insert = format!(
        "INSERT INTO deliveries (id, report_id, place, recipient, state, attempts, created_at, updated_at)
         VALUES ('{old}', '{id}', 2, 'old@x.example', 'queued', 0, {NOW}, {NOW})"
    );
    store.execute(&insert).await;
    let (_, deliveries) = store.registry.report(id).await.unwrap().unwrap();
    let recipients: Vec<&str> = deliveries.iter().map(|delivery| delivery.recipient.as_str()).collect();
    assert_eq!(recipients, ["2@x.example", "1@x.example", "old@x.example"]);
    assert_eq!(claim(&store, old).await, None);
    assert!(store.registry.finish_report(id, &[], &PeriodIncidents::default(), NOW).await.unwrap());
    assert_eq!(claim(&store, old).await.unwrap().about, Subject::Report(id));

    // What this one makes is found and sent by it.
    let of = format!("SELECT COUNT(*) FROM deliveries WHERE report_id = '{id}'");
    assert_eq!(store.number(&of).await, 3);
    let new = report.recipients[0].0;
    let claims = |delivery| {
        format!(
            "UPDATE deliveries
             SET state = 'sending', attempts = attempts + 1, message_id = '<1>', publish_at = NULL, updated_at = {NOW}
             WHERE id = '{delivery}' AND state = 'queued'
             AND EXISTS (SELECT 1 FROM reports r WHERE r.id = report_id AND r.state = 'ready')"
        )
    };
    store.execute(&claims(new)).await;
    assert!(state(&store, new, "sending").await && claim(&store, new).await.is_none());

    // What it cannot write it leaves to this one.
    let other = told(&store, 3).await;
    store.execute(&claims(other)).await;
    assert!(claim(&store, other).await.is_some());
}

/// A release to come takes the column of the release before away.
pub async fn a_report_is_sent_and_forgotten_without_the_column_of_the_release_before(store: Store) {
    let report = ready(&store).await;
    store.execute("UPDATE deliveries SET report_id = NULL").await;
    let (_, deliveries) = store.registry.report(report.id).await.unwrap().unwrap();
    assert_eq!(deliveries.len(), 2);
    assert!(claim(&store, report.recipients[0].0).await.is_some());
    assert!(store.registry.forget_reports(NOW + 1).await.unwrap());
    assert_eq!(store.number("SELECT COUNT(*) FROM deliveries").await, 0);
}

#[tokio::test]
async fn the_deliveries_of_a_file_of_the_release_before_are_about_their_reports() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let mut file = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
    let all = Migrator::new(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))).await.unwrap();
    let before = all.iter().filter(|migration| migration.version < 12).cloned();
    Migrator::with_migrations(before.collect()).run(&mut file).await.unwrap();
    let (report, delivery) = (new_report(1).id, DeliveryId::new(NOW, [1; 10]));
    for sql in kept(report, delivery) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut file).await.unwrap();
    }
    file.close().await.unwrap();
    let registry = Registry::open_sqlite(&path).await.unwrap();
    registry.migrate().await.unwrap();
    is_kept(&registry, report, delivery).await;
    registry.close().await;
}

/// A report whose mail waits for its second attempt, as the release before wrote them.
pub fn kept(report: ReportId, delivery: DeliveryId) -> [String; 2] {
    [
        format!(
            "INSERT INTO reports (id, from_at, to_at, time_zone, server_filter, state, claimed_until, created_at)
             VALUES ('{report}', 0, 1, 'UTC', '{{}}', 'ready', 0, {NOW})"
        ),
        format!(
            "INSERT INTO deliveries
                 (id, report_id, place, recipient, state, attempts, publish_at, error, created_at, updated_at)
             VALUES ('{delivery}', '{report}', 0, 'a@x.example', 'queued', 1, {NOW}, 'greylisted', {NOW}, {NOW})"
        ),
    ]
}

/// That it is there, and is sent.
pub async fn is_kept(registry: &Registry, report: ReportId, delivery: DeliveryId) {
    let (_, found) = registry.report(report).await.unwrap().unwrap();
    let shown = (found[0].id, found[0].state, found[0].error.as_deref(), found[0].due_at);
    assert_eq!(shown, (delivery, DeliveryState::Queued, Some("greylisted"), Some(NOW)));
    let jobs = registry.take_due_deliveries(NOW, NOW + MINUTE, 10).await.unwrap();
    assert_eq!(jobs, [MailJob { delivery, about: Some(Subject::Report(report)) }]);
    let claimed = registry.claim_delivery(delivery, "<1@x.example>", NOW).await.unwrap().unwrap();
    assert_eq!((claimed.attempts, claimed.about), (2, Subject::Report(report)));
}
