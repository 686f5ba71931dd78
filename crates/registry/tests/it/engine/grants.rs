//! What the roles of the other services may do on PostgreSQL.

use fleet::{
    Millis,
    alert::{channel::Kind, verdict::Verdict},
    id::{DeliveryId, ReportId, UserId},
    liveness::Progress,
};
use registry::{Actor, Attempt, DatabaseRole, Guest, NewReport, Registry, RegistryError};

use crate::{
    report,
    schema::{Schema, options, run},
    store::{ALL, CLOCK, NOW, Store, sighting},
    telling,
};

/// A role for one test, that may log in and nothing else.
struct Role {
    name: String,
    schema: Schema,
}

impl Role {
    async fn make(schema: &Schema) -> Self {
        let role = Self { name: format!("{}_role", schema.name), schema: schema.clone() };
        role.drop().await;
        run(&format!("CREATE ROLE {} LOGIN PASSWORD 'secret'", role.name)).await;
        role
    }

    async fn drop(&self) {
        let name = &self.name;
        run(&format!(
            "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN
                 EXECUTE 'DROP OWNED BY {name}'; EXECUTE 'DROP ROLE {name}'; END IF; END $$"
        ))
        .await;
    }

    fn role(&self) -> DatabaseRole {
        self.name.parse().unwrap()
    }

    fn open(&self) -> Registry {
        let url = self.schema.url_of(options().username(&self.name).password("secret"));
        Registry::open_postgres(&url.parse().unwrap())
    }
}

fn is_refused<T: std::fmt::Debug>(done: Result<T, RegistryError>) {
    let told = done.unwrap_err().to_string();
    assert!(told.contains("permission denied"), "{told}");
}

/// What nobody but management may: people, enrolments, the servers themselves.
async fn is_kept_out(guest: &Registry) {
    is_refused(guest.user_by_name("admin").await);
    is_refused(guest.make_first_admin(UserId::new(NOW, [2; 10]), "eve", "hash", NOW).await);
    is_refused(guest.enrolment_tokens(ALL).await);
    is_refused(guest.revoke(crate::store::server_id(1), &Actor::system(), NOW).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_writes_what_it_saw_and_nothing_else() {
    let schema = Schema::make().await;
    let store = Store::postgres(schema.clone()).await;
    let server = store.enrol(1, "web").await;
    let role = Role::make(&schema).await;
    let worker = role.open();
    assert!(!worker.has_schema().await.unwrap_or(false));
    // Twice, as at each start; and both at once, as two processes do.
    let (role_name, registry) = (role.role(), &store.registry);
    let (first, second) =
        tokio::join!(registry.admit(Guest::Worker, &role_name), registry.admit(Guest::Worker, &role_name));
    first.unwrap();
    second.unwrap();
    assert!(worker.has_schema().await.unwrap());
    worker.ping().await.unwrap();
    let told = registry::Sighting { facts: Some((NOW, crate::store::host("web"))), ..sighting(server, NOW) };
    for received_at in [NOW, NOW + 1] {
        worker.sight(&[registry::Sighting { received_at, ..told.clone() }], CLOCK).await.unwrap();
    }
    crate::alerts::is_observed(&store.registry, &worker, server).await;
    assert!(worker.standing(&[server]).await.unwrap()[&server].has_states);
    let progress = Progress { newest_settled: None, oldest_in_hand: None, open_since: None, written_at: NOW };
    for _ in 0..2 {
        worker.put_progress("worker-1", &progress).await.unwrap();
    }
    assert!(worker.take_lease("work", "worker-1", NOW, NOW + 60).await.unwrap());
    worker.give_back_lease("work", "worker-1").await.unwrap();
    assert!(worker.slow_servers(0).await.unwrap().len() == 1);
    let order = crate::orders::ordered(&store, server).await;
    let done = crate::orders::outcome(order, server, "done");
    assert_eq!(worker.end_orders(&[&done], NOW).await.unwrap().counted, 1);
    is_refused(worker.pending_orders(NOW).await);
    is_refused(worker.cancel_order(order, &Actor::system(), NOW).await);
    is_kept_out(&worker).await;
    is_refused(worker.report(ReportId::new(NOW, [1; 10])).await);
    role.drop().await;
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_reads_reports_and_settles_deliveries_and_nothing_else() {
    let schema = Schema::make().await;
    let store = Store::postgres(schema.clone()).await;
    let made: NewReport = report::ready(&store).await;
    let role = Role::make(&schema).await;
    // What a role was given before goes.
    store.registry.admit(Guest::Worker, &role.role()).await.unwrap();
    store.registry.admit(Guest::Mail, &role.role()).await.unwrap();
    let mail = role.open();
    assert!(mail.has_schema().await.unwrap());
    let delivery: DeliveryId = made.recipients[0].0;
    let claimed = mail.claim_delivery(delivery, "<1@x.example>", NOW).await.unwrap().unwrap();
    assert!(mail.report(made.id).await.unwrap().is_some());
    assert_eq!(mail.report_rows(made.id, 0, 10).await.unwrap().len(), 2);
    let again: Millis = NOW + 1;
    mail.settle_delivery(&claimed, &Attempt::Again("later".to_owned(), again), NOW).await.unwrap();
    mail.give_up_deliveries(NOW, NOW).await.unwrap();
    is_kept_out(&mail).await;
    is_refused(mail.sight(&[sighting(crate::store::server_id(1), NOW)], CLOCK).await);
    is_refused(mail.progress().await);
    role.drop().await;
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notifier_claims_and_settles_messages_and_nothing_else() {
    let schema = Schema::make().await;
    let store = Store::postgres(schema.clone()).await;
    let (channel, now) = (telling::told_on(&store, Kind::Slack).await, NOW);
    telling::incident(&store, "").await;
    telling::tell(&store.registry, now).await;
    let role = Role::make(&schema).await;
    store.registry.admit(Guest::Notifier, &role.role()).await.unwrap();
    let notifier = role.open();
    assert!(notifier.has_schema().await.unwrap());
    let claimed = telling::claim(&notifier, "a", now).await.unwrap();
    let failed = Verdict::Failed { reason: "HTTP 410".to_owned(), disables: true };
    assert!(notifier.settle_message(&claimed, &failed, 0, now).await.unwrap());
    assert!(store.registry.channel(channel.id).await.unwrap().unwrap().disabled.is_some());
    notifier.give_up_messages(now, now).await.unwrap();
    notifier.notification_counts().await.unwrap();
    is_kept_out(&notifier).await;
    let system = Actor::system();
    is_refused(notifier.tell(0, telling::random, now).await);
    is_refused(notifier.delete_channel(channel.id, None, &system, now).await);
    is_refused(
        notifier.progress().await.and(
            notifier
                .put_progress(
                    "x",
                    &Progress {
                        newest_settled: None,
                        oldest_in_hand: None,
                        open_since: None,
                        written_at: now,
                    },
                )
                .await,
        ),
    );
    role.drop().await;
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_reads_what_a_message_says_and_no_secret_of_a_channel() {
    let schema = Schema::make().await;
    let store = Store::postgres(schema.clone()).await;
    telling::told_on(&store, Kind::Mail).await;
    let secret = telling::told_on(&store, Kind::Slack).await;
    telling::incident(&store, "").await;
    telling::tell(&store.registry, NOW).await;
    let role = Role::make(&schema).await;
    store.registry.admit(Guest::Mail, &role.role()).await.unwrap();
    let mail = role.open();
    let page = registry::NotificationFilter::default();
    let (messages, _) = store.registry.notifications(&page, ALL).await.unwrap();
    let read = mail.message_by_mail(messages[0].id).await.unwrap();
    assert_eq!(read.unwrap().2.len(), 1);
    is_refused(mail.channel(secret.id).await);
    role.drop().await;
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_not_there_is_told_by_its_name() {
    let schema = Schema::make().await;
    let store = Store::postgres(schema.clone()).await;
    let nobody: DatabaseRole = "rollcall_nobody".parse().unwrap();
    let told = store.registry.admit(Guest::Mail, &nobody).await.unwrap_err().to_string();
    assert!(told.contains("rollcall_nobody"), "{told}");
    schema.remove().await;
}
