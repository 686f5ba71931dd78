//! A backup was restored: what it brought back is ended.

use std::collections::BTreeMap;

use fleet::{
    Millis, Scope,
    id::{ApiTokenId, ScheduleId, SessionId, UserId},
    schedule::Due,
};
use registry::{
    Actor, ApiToken, Attempt, AuditFilter, DeliveryState, NewReport, PeriodIncidents, Refusal,
    ReportSchedule, Restored,
};
use serde_json::{Value, json};

use crate::{
    report::{new_report, recipient},
    store::{ALL, FIRST, NOW, Store, ask, refresh_token},
};

const LATER: Millis = NOW + 3_600_000;

fn report(number: u8, recipients: u8) -> NewReport {
    NewReport {
        recipients: (0..recipients).map(|place| recipient(number, place)).collect(),
        ..new_report(number)
    }
}

fn schedule() -> ReportSchedule {
    ReportSchedule {
        id: ScheduleId::new(NOW, [1; 10]),
        cron: "59 23 * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        window: "last_24h".to_owned(),
        recipients: vec!["a@x.example".to_owned()],
        filter: "{}".to_owned(),
        format: "xlsx".to_owned(),
        language: "en".to_owned(),
        since: NOW,
        version: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

pub async fn everything_that_let_somebody_in_is_ended_at_once(store: Store) {
    let (registry, by) = (&store.registry, Actor::system());
    let admin = UserId::new(NOW, [1; 10]);
    registry.make_first_admin(admin, "admin", "hash", NOW).await.unwrap();
    let user = registry.user_by_name("admin").await.unwrap().unwrap();
    let sessions = [1, 2].map(|number| SessionId::new(NOW, [number; 10]));
    for (session, refresh) in sessions.into_iter().zip([1, 2]) {
        registry
            .begin_session(session, &user, refresh_token(refresh, refresh), &by, NOW, LATER + 9)
            .await
            .unwrap();
    }
    let token = ApiToken {
        id: ApiTokenId::new(NOW, [1; 10]),
        user: admin,
        username: "admin".to_owned(),
        name: "t".to_owned(),
        scopes: vec![Scope::ServerRead],
        expires_at: None,
        created_at: NOW,
    };
    registry.make_api_token(&token, [1; 32], &by).await.unwrap().unwrap();
    let server = store.enrol(1, "web").await;
    crate::orders::ordered(&store, server).await;

    let done = registry.after_restore(None, &by, LATER).await.unwrap();
    assert_eq!(
        done,
        Restored { sessions: 2, api_tokens: 1, enrolment_tokens: 1, orders: 1, ..Restored::default() }
    );
    assert_eq!(registry.pending_orders(NOW).await.unwrap(), []);
    for session in sessions {
        assert!(registry.open_session(session).await.unwrap().is_none());
    }
    assert_eq!(registry.refresh_token_holder([1; 32], LATER).await.unwrap(), None);
    assert!(registry.api_token_user([1; 32], LATER).await.unwrap().is_none());
    for number in [1, 2] {
        let refused = registry.enrol(&ask(number, "again")).await.unwrap();
        assert_eq!(refused, Err(Refusal::BadToken), "{number}: nor who enrolled with it before");
    }
    let filter = AuditFilter { action: Some("registry.restore".to_owned()), ..AuditFilter::default() };
    let (entries, total) = registry.audit(&filter, ALL).await.unwrap();
    assert_eq!((total, entries[0].actor_kind.as_str(), entries[0].at), (1, "system", LATER));
    let told: Value = serde_json::from_str(entries[0].after.as_ref().unwrap()).unwrap();
    assert_eq!((&told["sessions"], &told["api_tokens"]), (&json!(2), &json!(1)), "{told}");
    let actions = store.actions().await;
    for each in ["token.delete", "enrolment_token.revoke"] {
        assert_eq!(actions.iter().filter(|action| *action == each).count(), 1, "{actions:?}");
    }

    let again = registry.after_restore(None, &by, LATER + 1).await.unwrap();
    assert_eq!(again, Restored::default());
}

pub async fn a_mail_that_may_have_been_sent_since_the_backup_is_never_sent(store: Store) {
    let (registry, by) = (&store.registry, Actor::system());
    let (ready, waiting) = (report(1, 3), report(2, 1));
    for report in [&ready, &waiting] {
        registry.make_report(report, None, &by, NOW).await.unwrap();
    }
    registry.make_schedule(&schedule(), &by).await.unwrap();
    let read = registry.schedule(schedule().id).await.unwrap().unwrap();
    assert!(registry.finish_report(ready.id, &[], &PeriodIncidents::default(), NOW).await.unwrap());
    let claim = async |place: usize| {
        registry.claim_delivery(ready.recipients[place].0, "<1@x.example>", NOW).await.unwrap()
    };
    let sent = claim(0).await.unwrap();
    assert!(registry.settle_delivery(&sent, &Attempt::Sent, NOW).await.unwrap());
    let sending = claim(1).await.unwrap();

    let done = registry.after_restore(None, &by, LATER).await.unwrap();
    assert_eq!((done.deliveries, done.schedules), (3, 1));
    let states = async |report: &NewReport| {
        let (_, deliveries) = registry.report(report.id).await.unwrap().unwrap();
        deliveries.into_iter().map(|delivery| delivery.state).collect::<Vec<_>>()
    };
    let unknown = DeliveryState::Unknown;
    assert_eq!(states(&ready).await, [DeliveryState::Sent, unknown, unknown]);
    assert_eq!(registry.take_due_deliveries(Millis::MAX, Millis::MAX, 10).await.unwrap(), []);
    assert_eq!((claim(1).await, claim(2).await), (None, None));
    let again = Attempt::Again("later".to_owned(), NOW);
    assert!(!registry.settle_delivery(&sending, &again, LATER).await.unwrap());
    // A report that was not computed yet is computed, and its mail stays where it is.
    assert!(registry.finish_report(waiting.id, &[], &PeriodIncidents::default(), LATER).await.unwrap());
    assert_eq!(states(&waiting).await, [unknown]);

    let now = registry.schedule(schedule().id).await.unwrap().unwrap();
    assert_eq!(now.since, LATER, "a run that was due before is not made up for");
    let due = Due { at: NOW + 60_000, local: "2026-09-21T23:59".to_owned() };
    let run = registry.tick(&read, &due, &report(3, 1), NOW).await.unwrap();
    assert!(!run, "nor by a process that had read the schedule before");
}

pub async fn what_was_revoked_since_the_backup_stays_refused_if_the_cache_knows_it(store: Store) {
    let (registry, by) = (&store.registry, Actor::system());
    let (revoked, replaced, kept) =
        (store.enrol(1, "revoked").await, store.enrol(2, "replaced").await, store.enrol(3, "kept").await);
    registry.revoke(kept, &by, NOW + 2_000).await.unwrap().unwrap();
    let (version, here) = registry.denylist().await.unwrap();
    let stranger = crate::store::server_id(9);
    // By the clock of then, which was ahead of the one of now.
    let seen = LATER + 60_000;
    let known = BTreeMap::from([
        (revoked, FIRST + 100),
        (replaced, FIRST + 200),
        (kept, here[&kept]),
        (stranger, FIRST + 300),
    ]);
    let done = registry.after_restore(Some((seen, &known)), &by, LATER).await.unwrap();
    assert_eq!(done.revoked, 3);
    let (raised, denied) = registry.denylist().await.unwrap();
    assert_eq!(denied, known);
    assert_eq!(raised, seen + 1, "above what gates have seen, and {version}");
    let standing = registry.standing(&[revoked, replaced, kept]).await.unwrap();
    for (server, lowest) in [(revoked, FIRST + 100), (replaced, FIRST + 200), (kept, here[&kept])] {
        assert_eq!(standing[&server].generation, lowest);
    }
    assert!(registry.revoked(&[stranger]).await.unwrap().contains(&stranger), "so it is not adopted");
    let again = registry.after_restore(Some((seen, &known)), &by, LATER).await.unwrap();
    assert_eq!((again.revoked, registry.denylist().await.unwrap()), (0, (seen + 2, known)));
    // Without the cache gates go on with the list that they have seen.
    registry.after_restore(None, &by, LATER + 999_999).await.unwrap();
    assert_eq!(registry.denylist().await.unwrap().0, seen + 2);
}
