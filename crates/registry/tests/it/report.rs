//! Reports, their deliveries, and the schedules that make them.

use fleet::{
    Millis, Status,
    id::{DeliveryId, ReportId, ScheduleId, UserId},
    schedule::Due,
};
use registry::{
    Actor, Ask, Asked, Attempt, AuditFilter, Delivery, DeliveryState, IncidentFigures, NamedIncident,
    NewReport, PeriodIncidents, Refusal, ReportRow, ReportSchedule, ReportState, ScheduleChange,
};

use crate::store::{ALL, NOW, Store, server_id};

const MINUTE: Millis = 60_000;

/// A delivery of the report of this number, and to whom it goes.
pub fn recipient(number: u8, place: u8) -> (DeliveryId, String) {
    (DeliveryId::new(NOW, [number, place, 0, 0, 0, 0, 0, 0, 0, 0]), format!("{place}@x.example"))
}

pub fn new_report(number: u8) -> NewReport {
    NewReport {
        id: ReportId::new(NOW, [number; 10]),
        from: NOW - 1_000,
        to: NOW,
        time_zone: "Europe/Berlin".to_owned(),
        filter: r#"{"label":["site:eu"]}"#.to_owned(),
        format: "csv".to_owned(),
        language: "vi".to_owned(),
        recipients: vec![recipient(number, 2), recipient(number, 1)],
    }
}

fn rows() -> Vec<ReportRow> {
    let row = |number: u64, longest_outage| ReportRow {
        server: server_id(number),
        name: format!("{number} 'n' <b>"),
        status: Status::Down,
        covered_ms: 1,
        expected_ms: 2,
        longest_outage,
        incidents: number,
        longest_incident_ms: longest_outage.map(|(_, length)| length + 1),
        resolved_in_ms: longest_outage.map(|(_, length)| length - 1),
    };
    vec![row(2, Some((NOW - 9, 9))), row(1, None)]
}

fn incidents() -> PeriodIncidents {
    let named = NamedIncident {
        rule: "a 'rule'".to_owned(),
        server: "<b>".to_owned(),
        instance: "/".to_owned(),
        opened_at: NOW - 9,
        length_ms: 9,
        lasts: true,
    };
    let all = IncidentFigures { count: 1, open: 1, longest_ms: Some(9), ..IncidentFigures::default() };
    PeriodIncidents { all, longest: vec![named] }
}

fn schedule(number: u8) -> ReportSchedule {
    ReportSchedule {
        id: ScheduleId::new(NOW, [number; 10]),
        cron: "59 23 * * *".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
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

async fn make(store: &Store) -> NewReport {
    let report = new_report(1);
    store.registry.make_report(&report, None, &Actor::system(), NOW).await.unwrap();
    report
}

/// A report whose deliveries may be sent.
pub async fn ready(store: &Store) -> NewReport {
    let report = make(store).await;
    assert!(
        store.registry.finish_report(report.id, &rows(), &PeriodIncidents::default(), NOW).await.unwrap()
    );
    report
}

async fn deliveries(store: &Store, report: &NewReport) -> Vec<Delivery> {
    store.registry.report(report.id).await.unwrap().unwrap().1
}

async fn claim(store: &Store, report: &NewReport) -> Option<Delivery> {
    store.registry.claim_delivery(report.recipients[0].0, "<1@x.example>", NOW).await.unwrap()
}

/// The deliveries that are due then, taken for long.
async fn take(store: &Store, now: Millis) -> Vec<DeliveryId> {
    let jobs = store.registry.take_due_deliveries(now, NOW + 99 * MINUTE, 10).await.unwrap();
    jobs.into_iter().map(|job| job.delivery).collect()
}

pub async fn a_report_and_its_deliveries_are_there_together(mut store: Store) {
    let asked = make(&store).await;
    store.restart().await;
    let (report, deliveries) = store.registry.report(asked.id).await.unwrap().unwrap();
    assert_eq!((report.from, report.to, report.state), (asked.from, asked.to, ReportState::Queued));
    assert_eq!(
        (report.time_zone, report.filter, report.format, report.language),
        (asked.time_zone, asked.filter, asked.format, asked.language)
    );
    let found: Vec<_> = deliveries.into_iter().map(|delivery| (delivery.id, delivery.recipient)).collect();
    assert_eq!(found, asked.recipients);
    let (listed, total) = store.registry.reports(ALL).await.unwrap();
    assert_eq!((listed[0].id, listed.len(), total), (asked.id, 1, 1));
    assert_eq!(store.registry.report(new_report(2).id).await.unwrap(), None);
}

pub async fn a_report_is_computed_once(store: Store) {
    let asked = make(&store).await;
    store.warm().await;
    let mut claims = Vec::new();
    for _ in 0..3 {
        let registry = store.registry.clone();
        claims.push(tokio::spawn(async move { registry.claim_report(NOW, NOW + MINUTE).await.unwrap() }));
    }
    let mut claimed = 0;
    for claim in claims {
        claimed += usize::from(claim.await.unwrap().is_some());
    }
    assert_eq!(claimed, 1);
    // Who had it is gone; another takes it, and both finish.
    assert_eq!(store.registry.claim_report(NOW + MINUTE - 1, NOW + 2 * MINUTE).await.unwrap(), None);
    let again = store.registry.claim_report(NOW + MINUTE, NOW + 2 * MINUTE).await.unwrap().unwrap();
    assert_eq!(again.id, asked.id);
    assert!(store.registry.finish_report(asked.id, &rows(), &incidents(), NOW + 5).await.unwrap());
    assert!(
        !store
            .registry
            .finish_report(asked.id, &rows()[..1], &PeriodIncidents::default(), NOW + 6)
            .await
            .unwrap()
    );
    assert_eq!(store.registry.report_rows(asked.id, 0, 10).await.unwrap(), rows());
    assert_eq!(store.registry.report_rows(asked.id, 1, 10).await.unwrap(), rows()[1..]);
    let (report, _) = store.registry.report(asked.id).await.unwrap().unwrap();
    assert_eq!((report.state, report.computed_at), (ReportState::Ready, Some(NOW + 5)));
    assert_eq!(report.incidents, Some(incidents()));
    assert_eq!(store.registry.claim_report(NOW + 9 * MINUTE, Millis::MAX).await.unwrap(), None);
}

pub async fn a_delivery_waits_for_its_report(store: Store) {
    let asked = make(&store).await;
    assert_eq!(store.registry.take_due_deliveries(NOW + MINUTE, NOW, 10).await.unwrap(), []);
    assert_eq!(claim(&store, &asked).await, None);
    store.registry.finish_report(asked.id, &[], &PeriodIncidents::default(), NOW).await.unwrap();
    assert!(claim(&store, &asked).await.is_some());
}

pub async fn a_due_delivery_is_taken_once(store: Store) {
    ready(&store).await;
    store.warm().await;
    let mut takes = Vec::new();
    for _ in 0..3 {
        let registry = store.registry.clone();
        takes.push(tokio::spawn(async move {
            registry.take_due_deliveries(NOW, NOW + MINUTE, 10).await.unwrap()
        }));
    }
    let mut taken = Vec::new();
    for take in takes {
        taken.extend(take.await.unwrap().into_iter().map(|job| job.delivery));
    }
    taken.sort_unstable();
    let mut all: Vec<_> = new_report(1).recipients.into_iter().map(|(id, _)| id).collect();
    all.sort_unstable();
    assert_eq!(taken, all);
}

pub async fn a_job_that_was_lost_is_taken_again(store: Store) {
    let report = ready(&store).await;
    let (one, two) = (report.recipients[0].0, report.recipients[1].0);
    assert_eq!(store.registry.take_due_deliveries(NOW, NOW + MINUTE, 10).await.unwrap().len(), 2);
    // The other one's publisher is gone before it could tell.
    store.registry.published(one, NOW + MINUTE, NOW + 60 * MINUTE).await.unwrap();
    assert_eq!(store.registry.take_due_deliveries(NOW + MINUTE - 1, NOW, 10).await.unwrap(), []);
    assert_eq!(take(&store, NOW + MINUTE).await, [two]);
    assert_eq!(take(&store, NOW + 60 * MINUTE).await, [one]);
}

pub async fn a_delivery_is_claimed_once(store: Store) {
    let report = ready(&store).await;
    store.warm().await;
    let id = report.recipients[0].0;
    let mut claims = Vec::new();
    for number in 0..8 {
        let registry = store.registry.clone();
        claims.push(tokio::spawn(async move {
            registry.claim_delivery(id, &format!("<{number}>"), NOW).await.unwrap()
        }));
    }
    let mut claimed = Vec::new();
    for claim in claims {
        claimed.extend(claim.await.unwrap());
    }
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].attempts, claimed[0].state), (1, DeliveryState::Sending));
    assert_eq!(deliveries(&store, &report).await[0].message_id, claimed[0].message_id);
}

pub async fn an_attempt_ends_as_it_went(store: Store) {
    let report = ready(&store).await;
    let first = claim(&store, &report).await.unwrap();
    let again = Attempt::Again("greylisted".to_owned(), NOW + MINUTE);
    assert!(store.registry.settle_delivery(&first, &again, NOW).await.unwrap());
    let found = deliveries(&store, &report).await.remove(0);
    assert_eq!((found.state, found.due_at), (DeliveryState::Queued, Some(NOW + MINUTE)));
    assert_eq!(found.error.as_deref(), Some("greylisted"));
    let second = claim(&store, &report).await.unwrap();
    assert_eq!(second.attempts, 2);
    // What the first attempt says now is out of date.
    assert!(!store.registry.settle_delivery(&first, &Attempt::Failed("late".to_owned()), NOW).await.unwrap());
    assert!(store.registry.settle_delivery(&second, &Attempt::Sent, NOW + 7).await.unwrap());
    let found = deliveries(&store, &report).await.remove(0);
    assert_eq!((found.state, found.error, found.updated_at), (DeliveryState::Sent, None, NOW + 7));
    assert_eq!(claim(&store, &report).await, None);
}

pub async fn a_claim_that_nobody_settles_is_unknown_and_never_sent(store: Store) {
    let report = ready(&store).await;
    let claimed = claim(&store, &report).await.unwrap();
    assert_eq!(store.registry.give_up_deliveries(NOW, NOW).await.unwrap(), 0);
    assert_eq!(store.registry.give_up_deliveries(NOW + 1, NOW + MINUTE).await.unwrap(), 1);
    assert_eq!(deliveries(&store, &report).await[0].state, DeliveryState::Unknown);
    assert_eq!(claim(&store, &report).await, None);
    // It was only slow: it may tell what it knows, but not that it be sent again.
    let again = Attempt::Again("later".to_owned(), NOW);
    assert!(!store.registry.settle_delivery(&claimed, &again, NOW).await.unwrap());
    assert!(store.registry.settle_delivery(&claimed, &Attempt::Sent, NOW).await.unwrap());
    assert_eq!(deliveries(&store, &report).await[0].state, DeliveryState::Sent);
}

pub async fn a_report_that_cannot_be_computed_fails_its_deliveries(store: Store) {
    let report = make(&store).await;
    store.registry.fail_report(report.id, "why", NOW).await.unwrap();
    let (found, deliveries) = store.registry.report(report.id).await.unwrap().unwrap();
    assert_eq!((found.state, found.error.as_deref()), (ReportState::Failed, Some("why")));
    for delivery in deliveries {
        assert_eq!((delivery.state, delivery.error.as_deref()), (DeliveryState::Failed, Some("why")));
    }
    assert!(
        !store.registry.finish_report(report.id, &rows(), &PeriodIncidents::default(), NOW).await.unwrap()
    );
}

pub async fn old_reports_are_forgotten_with_all_that_is_theirs(store: Store) {
    let report = ready(&store).await;
    assert!(!store.registry.forget_reports(NOW).await.unwrap());
    assert!(store.registry.forget_reports(NOW + 1).await.unwrap());
    assert_eq!(store.registry.report(report.id).await.unwrap(), None);
    assert_eq!(store.registry.report_rows(report.id, 0, 10).await.unwrap(), []);
    assert_eq!(claim(&store, &report).await, None);
}

pub async fn a_schedule_is_made_changed_and_deleted(store: Store) {
    let made = schedule(1);
    let by = Actor::system();
    store.registry.make_schedule(&made, &by).await.unwrap();
    assert_eq!(store.registry.schedule(made.id).await.unwrap().as_ref(), Some(&made));
    assert_eq!(store.registry.schedules(ALL).await.unwrap(), (vec![made.clone()], 1));
    let to = ScheduleChange {
        recipients: Some(vec!["b@x.example".to_owned()]),
        language: Some("sq".to_owned()),
        ..ScheduleChange::default()
    };
    let changed = store.registry.change_schedule(made.id, None, &to, &by, NOW + 5).await.unwrap().unwrap();
    assert_eq!((changed.version, changed.since, changed.updated_at), (2, NOW, NOW + 5));
    assert_eq!((made.language.as_str(), changed.language.as_str()), ("en", "sq"));
    // Other runs count from now on.
    let when = ScheduleChange { cron: Some("0 6 * * 1".to_owned()), ..ScheduleChange::default() };
    let changed = store.registry.change_schedule(made.id, None, &when, &by, NOW + 9).await.unwrap().unwrap();
    assert_eq!((changed.since, changed.recipients[0].as_str()), (NOW + 9, "b@x.example"));
    assert_eq!(store.registry.schedule(made.id).await.unwrap(), Some(changed));
    store.registry.delete_schedule(made.id, None, &by, NOW + 10).await.unwrap().unwrap();
    assert_eq!(
        store.registry.delete_schedule(made.id, None, &by, NOW).await.unwrap(),
        Err(Refusal::NotFound)
    );
    assert_eq!(
        store.registry.change_schedule(made.id, None, &when, &by, NOW).await.unwrap(),
        Err(Refusal::NotFound)
    );
    let of_schedules = AuditFilter { object: Some("report_schedule".to_owned()), ..AuditFilter::default() };
    let (audited, _) = store.registry.audit(&of_schedules, ALL).await.unwrap();
    let actions: Vec<_> = audited.iter().map(|entry| entry.action.as_str()).collect();
    let wanted = [
        "report_schedule.delete",
        "report_schedule.change",
        "report_schedule.change",
        "report_schedule.create",
    ];
    assert_eq!(actions, wanted);
}

pub async fn a_tick_is_once_at_any_number_of_replicas(store: Store) {
    let schedule = schedule(1);
    store.registry.make_schedule(&schedule, &Actor::system()).await.unwrap();
    store.warm().await;
    let mut ticks = Vec::new();
    for replica in 0..6 {
        let (registry, schedule) = (store.registry.clone(), schedule.clone());
        let due = Due { local: format!("2026-09-2{}T23:59", replica % 2), at: NOW };
        ticks.push(tokio::spawn(async move {
            registry.tick(&schedule, &due, &new_report(replica), NOW).await.unwrap()
        }));
    }
    let mut made = 0;
    for tick in ticks {
        made += usize::from(tick.await.unwrap());
    }
    assert_eq!(made, 2);
    assert_eq!(store.registry.reports(ALL).await.unwrap().1, 2);
    let known = store.registry.ticks(NOW - 1).await.unwrap();
    let wanted = ["2026-09-20T23:59", "2026-09-21T23:59"].map(|local| (schedule.id, local.to_owned()));
    assert_eq!(known, wanted.into());
    assert!(store.registry.ticks(NOW).await.unwrap().is_empty());
    let (report, _) = store.registry.reports(ALL).await.unwrap();
    assert_eq!(report[0].schedule, Some(schedule.id));
}

pub async fn a_changed_schedule_takes_no_tick_of_what_it_was(store: Store) {
    let (old, by) = (schedule(1), Actor::system());
    let due = Due { local: "2026-09-21T23:59".to_owned(), at: NOW };
    store.registry.make_schedule(&old, &by).await.unwrap();
    let change = ScheduleChange { window: Some("yesterday".to_owned()), ..ScheduleChange::default() };
    let new = store.registry.change_schedule(old.id, None, &change, &by, NOW).await.unwrap().unwrap();
    assert!(!store.registry.tick(&old, &due, &new_report(1), NOW).await.unwrap());
    assert!(store.registry.tick(&new, &due, &new_report(2), NOW).await.unwrap());
    store.registry.delete_schedule(old.id, None, &by, NOW).await.unwrap().unwrap();
    assert!(!store.registry.tick(&new, &due, &new_report(3), NOW).await.unwrap());
    assert_eq!(store.registry.reports(ALL).await.unwrap().1, 1);
}

pub async fn reports_and_mails_are_counted_by_state_and_the_size_is_told(store: Store) {
    let nothing = store.registry.report_counts().await.unwrap();
    assert_eq!(nothing.reports, [("queued", 0), ("ready", 0), ("failed", 0)]);
    assert_eq!(nothing.computed_at, None);
    let report = ready(&store).await;
    let failed = new_report(2);
    store.registry.make_report(&failed, None, &Actor::system(), NOW).await.unwrap();
    store.registry.fail_report(failed.id, "why", NOW + 9).await.unwrap();
    let sending = claim(&store, &report).await.unwrap();
    let counts = store.registry.report_counts().await.unwrap();
    assert_eq!(counts.reports, [("queued", 0), ("ready", 1), ("failed", 1)]);
    let mails = [("queued", 1), ("sending", 1), ("sent", 0), ("written", 0), ("failed", 2), ("unknown", 0)];
    assert_eq!((counts.deliveries.as_slice(), counts.computed_at), (mails.as_slice(), Some(NOW)));
    assert!(store.registry.settle_delivery(&sending, &Attempt::Written, NOW).await.unwrap());
    assert_eq!(store.registry.report_counts().await.unwrap().deliveries[3], ("written", 1));
    assert!(store.registry.size().await.unwrap() > 4_096);
}

pub async fn who_asked_for_too_much_waits_until_it_is_less(store: Store) {
    let (one, other) = (UserId::new(NOW, [1; 10]), UserId::new(NOW, [2; 10]));
    assert!(store.registry.make_first_admin(one, "one", "hash", NOW).await.unwrap());
    let ask = async |number: u8, user: UserId, weight: i64, now: i64| {
        let ask = Ask { user, weight, most: 100, within: 1_000 };
        store.registry.make_report(&new_report(number), Some(ask), &Actor::system(), now).await.unwrap()
    };
    assert_eq!(ask(1, one, 60, NOW).await, Asked::Made);
    assert_eq!(ask(2, one, 5_000, NOW + 10).await, Asked::Made, "nothing is too large by itself");
    assert_eq!(ask(3, one, 1, NOW + 20).await, Asked::TooMuch { again_at: NOW + 1_010 });
    assert_eq!(ask(4, other, 1, NOW + 20).await, Asked::Made, "each counts alone");
    assert_eq!(ask(5, one, 1, NOW + 1_009).await, Asked::TooMuch { again_at: NOW + 1_010 });
    assert_eq!(ask(6, one, 99, NOW + 1_010).await, Asked::Made);
    store.warm().await;
    let mut tasks = Vec::new();
    for number in 10..16 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            let ask = Ask { user: one, weight: 1, most: 100, within: 1_000 };
            let (report, by) = (new_report(number), Actor::system());
            registry.make_report(&report, Some(ask), &by, NOW + 1_020).await.unwrap()
        }));
    }
    let mut made = 0;
    for task in tasks {
        made += u32::from(task.await.unwrap() == Asked::Made);
    }
    assert_eq!(made, 1, "also at once");
    assert_eq!(store.registry.reports(ALL).await.unwrap().1, 5);
    let nobody = store.registry.make_report(&new_report(7), None, &Actor::system(), NOW).await.unwrap();
    assert_eq!(nobody, Asked::Made, "of nobody in particular");
}
