//! Maintenance windows, beside people who pause.

use std::collections::BTreeSet;

use fleet::{Cron, Millis, Status, Zone, alert::Maintenance, id::MaintenanceWindowId, uptime::Expected};
use registry::{Actor, MaintenanceWindow, Pause, Refusal, Roll, ServerFilter, WindowMatch};

use crate::store::{ALL, NOW, Store};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;

fn window(number: u8, once: Option<(Millis, Millis)>) -> MaintenanceWindow {
    MaintenanceWindow {
        id: MaintenanceWindowId::new(NOW, [number; 10]),
        name: format!("window {number}"),
        enabled: true,
        once,
        recurring: None,
        time_zone: "UTC".to_owned(),
        matches: WindowMatch::default(),
        reason: None,
        since: 0,
        version: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// Begins every opening of a window that begins by then.
async fn open(store: &Store, window: &MaintenanceWindow, maintenance: &Maintenance, until: Millis) -> usize {
    let mut begun = 0;
    for opening in maintenance.openings(window.since, until, 1_000) {
        begun += usize::from(store.registry.begin_maintenance(window, &opening, until).await.unwrap());
    }
    begun
}

async fn once(store: &Store, number: u8, from: Millis, to: Millis) -> MaintenanceWindow {
    let made = window(number, Some((from, to)));
    store.registry.make_maintenance_window(&made, &Actor::system()).await.unwrap().unwrap();
    open(store, &made, &Maintenance::Once { starts_at: from, ends_at: to }, from).await;
    made
}

async fn paused(store: &Store) -> Vec<String> {
    let paused = store.names(ServerFilter { status: Some(Status::Paused), ..ServerFilter::default() }).await;
    let counts = store.registry.counts(&Roll::default()).await.unwrap();
    assert_eq!(counts.paused, paused.len() as u64);
    paused
}

pub async fn a_window_pauses_its_servers_and_nobody_elses_pause_ends_with_it(store: Store) {
    let (web, db) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    let (registry, by) = (&store.registry, Actor::system());
    let version = store.server(web).await.version;
    let first = once(&store, 1, NOW, NOW + HOUR).await;
    assert_eq!(paused(&store).await, ["db", "web"]);
    let server = store.server(web).await;
    assert_eq!((server.status, server.paused, server.version), (Status::Paused, None, version));
    assert!(
        !registry
            .begin_maintenance(
                &first,
                &Maintenance::Once { starts_at: NOW, ends_at: NOW + HOUR }.openings(0, NOW, 1)[0],
                NOW
            )
            .await
            .unwrap(),
        "once"
    );
    let of = registry.maintenance_of(web).await.unwrap().unwrap();
    assert_eq!((of.window, of.name.as_deref(), of.until), (first.id, Some("window 1"), NOW + HOUR));

    // A person pauses one of them meanwhile, at the very moment, and another window opens for it.
    registry.pause(web, &Pause::default(), &by, NOW).await.unwrap().unwrap();
    let second = MaintenanceWindow {
        matches: WindowMatch { servers: vec![db], ..WindowMatch::default() },
        ..window(2, Some((NOW, NOW + 2 * HOUR)))
    };
    registry.make_maintenance_window(&second, &by).await.unwrap().unwrap();
    assert_eq!(
        open(&store, &second, &Maintenance::Once { starts_at: NOW, ends_at: NOW + 2 * HOUR }, NOW).await,
        1
    );
    assert_eq!(registry.end_maintenance(NOW + HOUR - 1).await.unwrap(), 0);
    assert_eq!(registry.end_maintenance(NOW + HOUR + 7).await.unwrap(), 1);
    assert_eq!(paused(&store).await, ["db", "web"]);
    assert_eq!(registry.maintenance_of(web).await.unwrap(), None);
    assert_eq!(registry.end_maintenance(NOW + 2 * HOUR).await.unwrap(), 1);
    assert_eq!(paused(&store).await, ["web"], "whom a person paused stays paused");
    registry.resume(web, &by, NOW + 3 * HOUR).await.unwrap().unwrap();
    assert_eq!(paused(&store).await, Vec::<String>::new());

    let pauses = registry.pauses(&[web, db]).await.unwrap();
    assert_eq!(pauses[&web], [(NOW, NOW + 3 * HOUR), (NOW, NOW + HOUR)]);
    assert_eq!(pauses[&db], [(NOW, NOW + HOUR), (NOW, NOW + 2 * HOUR)]);
    let actions = store.actions().await;
    let of_windows = actions.iter().filter(|action| action.starts_with("maintenance_window.")).count();
    assert_eq!(of_windows, 2 + 2 * 2, "one row for making each, and one a run for its begin and its end");
}

pub async fn a_window_that_is_changed_or_deleted_ends_what_lasts_of_it(store: Store) {
    let server = store.enrol(1, "web").await;
    let (registry, by) = (&store.registry, Actor::system());
    let made = once(&store, 1, NOW, NOW + HOUR).await;
    let longer = MaintenanceWindow { once: Some((NOW, NOW + 2 * HOUR)), ..made.clone() };
    assert_eq!(
        registry.change_maintenance_window(&longer, Some(&[2]), &by, NOW).await.unwrap(),
        Err(Refusal::Stale)
    );
    let changed =
        registry.change_maintenance_window(&longer, Some(&[1]), &by, NOW + MINUTE).await.unwrap().unwrap();
    assert_eq!(changed, MaintenanceWindow { version: 2, updated_at: NOW + MINUTE, ..longer });
    assert_eq!(paused(&store).await, Vec::<String>::new());
    let maintenance = Maintenance::Once { starts_at: NOW, ends_at: NOW + 2 * HOUR };
    assert_eq!(
        open(&store, &made, &maintenance, NOW + MINUTE).await,
        0,
        "of a version that is not in force nothing begins"
    );
    assert_eq!(open(&store, &changed, &maintenance, NOW + MINUTE).await, 1, "it begins again as it says now");
    assert_eq!(registry.pauses(&[server]).await.unwrap()[&server], [(NOW, NOW + 2 * HOUR)]);
    registry.delete_maintenance_window(made.id, None, &by, NOW + HOUR).await.unwrap().unwrap();
    assert_eq!(paused(&store).await, Vec::<String>::new());
    assert_eq!(registry.pauses(&[server]).await.unwrap()[&server], [(NOW, NOW + HOUR)], "what was stays");
    assert_eq!(registry.maintenance_windows(ALL).await.unwrap(), (vec![], 0));
    let gone = registry.delete_maintenance_window(made.id, None, &by, NOW).await.unwrap();
    assert_eq!(gone, Err(Refusal::NotFound));
}

pub async fn what_is_expected_is_what_neither_windows_nor_people_take_whatever_clocks_do(store: Store) {
    let server = store.enrol(1, "web").await;
    let (registry, by) = (&store.registry, Actor::system());
    let zone: Zone = "Europe/Berlin".parse().unwrap();
    // From 2026-10-20 to 2026-11-01, 00:00 UTC; clocks are set back on 2026-10-25 at 01:00 UTC.
    let (from, to) = (1_792_454_400_000, 1_793_491_200_000);
    let mut taken: BTreeSet<Millis> = BTreeSet::new();
    let minutes = |from: Millis, to: Millis| (from..to).step_by(MINUTE as usize);
    for (number, hour, minute, duration) in
        [(1, 2, 30, 90 * MINUTE), (2, 3, 15, 26 * HOUR), (3, 23, 45, 30 * MINUTE)]
    {
        let cron: Cron =
            format!("{minute} {hour} * * {}", if number == 2 { "6" } else { "*" }).parse().unwrap();
        let made = MaintenanceWindow {
            recurring: Some((cron.to_string(), duration)),
            time_zone: zone.to_string(),
            since: from,
            ..window(number, None)
        };
        registry.make_maintenance_window(&made, &by).await.unwrap().unwrap();
        open(&store, &made, &Maintenance::Recurring { cron, zone, duration }, to).await;
        // By the wall clock, minute by minute: the first instant at which it shows the time of that day.
        let mut days = BTreeSet::new();
        for at in minutes(from, to) {
            let local = zone.local(at).unwrap().to_string();
            let (day, time) = local.split_once(' ').unwrap();
            let is_due = time.starts_with(&format!("{hour:02}:{minute:02}")) && days.insert(day.to_owned());
            // 2026-10-24 and 2026-10-31 are Saturdays.
            if is_due && at > from && (number != 2 || ["2026-10-24", "2026-10-31"].contains(&day)) {
                taken.extend(minutes(at, at + duration));
            }
        }
    }
    registry.end_maintenance(to).await.unwrap();
    for (paused_at, resumed_at) in
        [(from + 30 * HOUR, from + 31 * HOUR), (from + 120 * HOUR, from + 125 * HOUR)]
    {
        registry.pause(server, &Pause::default(), &by, paused_at).await.unwrap().unwrap();
        registry.resume(server, &by, resumed_at).await.unwrap().unwrap();
        taken.extend(minutes(paused_at, resumed_at));
    }
    let pauses = registry.pauses(&[server]).await.unwrap();
    let expected = Expected {
        from,
        to,
        enrolled_at: NOW,
        oldest_retained: 0,
        oldest_start: None,
        newest: Some(to),
        down_at: None,
        pauses: &pauses[&server],
    };
    let measured: Millis = expected.pieces().iter().map(|piece| piece.length()).sum();
    let left = minutes(from, to).filter(|at| !taken.contains(at)).count() as Millis * MINUTE;
    assert_eq!(measured, left);
    assert!(left < to - from - 60 * HOUR, "{left}");
}
