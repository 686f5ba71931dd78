//! What runs on hosts, in blocks.

use super::*;

pub fn section() -> impl Strategy<Value = Box<v1::Processes>> {
    let row = (1..40_000_u32, share(), bytes(), name()).prop_map(|(pid, cpu, rss, name)| v1::Process {
        pid,
        cpu,
        rss,
        name,
        ..v1::Process::default()
    });
    let command =
        "[a-zäß/\"\\\\ ]{0,40}".prop_map(|text| v1::Command { hash: fleet::processes::hash(&text), text });
    let lists = (proptest::collection::vec(row, 0..6), proptest::collection::vec(command, 0..3));
    (any::<bool>(), 0..9_000_u32, lists).prop_map(|(keyframe, count, (rows, commands))| {
        Box::new(v1::Processes { keyframe, count, rows, commands, ..v1::Processes::default() })
    })
}

pub fn ran_in(snapshot: &Snapshot) -> Option<Sampled> {
    let processes = snapshot.as_wire().processes.clone()?;
    Some(Sampled { at: snapshot.sampled_at(), covers: snapshot.covers(), processes })
}

/// A host as they are, with what runs on it: some processes that keep their places, and figures that change.
pub fn busy(rows: i64) -> Vec<Snapshot> {
    let mut state = 5_u64;
    let mut next = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let with = |(place, snapshot): (usize, Snapshot)| {
        let keyframe = place % 20 == 0;
        let rows: Vec<v1::Process> = (0..16_u32)
            .map(|n| {
                let told = |text: &str| keyframe.then(|| format!("{text}{n}"));
                v1::Process {
                    pid: 700 + 31 * n,
                    start_ms: 1_000 + i64::from(n) * 777,
                    pin: Some(9_000 + u64::from(n)),
                    cpu: if n < 8 { next(9_000) as f32 / 100.0 } else { 0.0 },
                    rss: 1_000_000_000 + u64::from(n) * 77_000_000 + next(500) * 4_096,
                    threads: (n % 3 == 0).then_some(n + 2),
                    name: told("process-"),
                    ppid: keyframe.then_some(1),
                    user: told("user"),
                    command: keyframe.then(|| fleet::processes::hash(&n.to_string())),
                    unit: told("unit.service"),
                    ..v1::Process::default()
                }
            })
            .collect();
        let users: Vec<v1::UserTotal> = (0..4)
            .map(|n| v1::UserTotal {
                user: format!("user{n}"),
                cpu: next(9_000) as f32 / 100.0,
                rss: 4_000_000_000 + next(900) * 4_096,
                count: 30,
            })
            .collect();
        let units = (0..20).map(|n| v1::Unit {
            name: format!("unit{n}.service"),
            running: true,
            cpu: if n < 6 { next(9_000) as f32 / 100.0 } else { 0.0 },
            memory: Some(90_000_000 + n * 7_000_000 + next(40) * 4_096),
            pids: Some(4),
        });
        let section = v1::Processes {
            level: Some("basic".to_owned()),
            keyframe,
            count: 112,
            rows,
            users,
            units: units.collect(),
            ..v1::Processes::default()
        };
        check(v1::Snapshot { processes: Some(Box::new(section)), ..snapshot.as_wire().clone() })
    };
    usual(7, rows).into_iter().enumerate().map(with).collect()
}

#[test]
fn what_ran_takes_some_hundred_bytes_a_snapshot() {
    let hour = busy(119);
    let (block, bare) = (write(START, &hour), write(START, &usual(7, 119)));
    assert_eq!(json(&back(&block, Wanted::All).unwrap()), json(&hour));
    let more = (block.len() - bare.len()) / hour.len();
    println!("{more} bytes a snapshot for what ran");
    assert!(more < 800, "{more} bytes a snapshot");
}
