use fleet::series::Figures;
use proptest::{prelude::*, sample::select};

use self::ran::{busy, ran_in, section};
use super::*;

mod ran;

const START: Millis = 497_000 * HOUR;

fn check(raw: v1::Snapshot) -> Snapshot {
    Snapshot::check(raw, Interval::try_from(HOUR).unwrap()).unwrap()
}

/// As a reader of the interface gets them.
fn json(snapshots: &[Snapshot]) -> Vec<String> {
    snapshots.iter().map(|snapshot| serde_json::to_string(snapshot).unwrap()).collect()
}

fn back(block: &[u8], wanted: Wanted) -> Result<Vec<Snapshot>, Damage> {
    let mut all = Vec::new();
    read(START, block, wanted, |snapshot| all.push(snapshot)).map(|()| all)
}

fn share() -> impl Strategy<Value = f32> {
    prop_oneof![(0..10_000_i32).prop_map(|n| n as f32 / 100.0), 0.0..=100.0_f32, Just(-0.0), Just(1e-38)]
}

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![0..=i64::MAX as u64, (0..5_000_000_u64).prop_map(|n| n * 4_096), 0..3_u64]
}

fn name() -> impl Strategy<Value = Option<String>> {
    let plain =
        select(vec!["/", "/var", "eth0", "lo", "sda1", "ext4", "", "\u{fffd}ü"]).prop_map(str::to_owned);
    proptest::option::of(prop_oneof![9 => plain, 1 => "[a-zäß/\"\\\\ ]{0,40}"])
}

fn maybe<T: std::fmt::Debug + 'static>(of: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Option<T>> {
    proptest::option::weighted(0.8, of).boxed()
}

fn cpu() -> impl Strategy<Value = v1::Cpu> {
    let shares = [(); 5].map(|()| maybe(share()));
    (shares, proptest::collection::vec(share(), 0..6)).prop_map(
        |([total, user, system, iowait, steal], cores)| v1::Cpu { total, user, system, iowait, steal, cores },
    )
}

fn memory() -> impl Strategy<Value = v1::Memory> {
    [(); 5].map(|()| maybe(bytes())).prop_map(|[total, used, available, swap_total, swap_used]| v1::Memory {
        total,
        used,
        available,
        swap_total,
        swap_used,
    })
}

fn disk() -> impl Strategy<Value = v1::Disk> {
    ([(); 3].map(|()| name()), [(); 4].map(|()| maybe(bytes()))).prop_map(
        |([mount, device, filesystem], [total, used, read, written])| v1::Disk {
            mount,
            device,
            filesystem,
            total,
            used,
            read,
            written,
        },
    )
}

fn agent() -> impl Strategy<Value = v1::Agent> {
    let orders = (any::<bool>(), name(), proptest::collection::vec("[a-z.]{1,12}", 0..3));
    (maybe(any::<i64>()), [(); 4].map(|()| maybe(bytes())), orders).prop_map(
        |(skew_ms, [spooled, dropped, set_aside, cut], (reporter, boot, hand))| v1::Agent {
            skew_ms,
            spooled,
            dropped,
            set_aside,
            cut,
            reporter,
            boot,
            hand,
        },
    )
}

fn host() -> impl Strategy<Value = v1::Host> {
    ([(); 6].map(|()| name()), maybe(0..fleet::snapshot::MAX_TIME)).prop_map(
        |([hostname, os, kernel, arch, cpu_model, agent_version], boot_at)| v1::Host {
            hostname,
            os,
            kernel,
            arch,
            cpu_model,
            boot_at,
            agent_version,
        },
    )
}

/// A snapshot but for its time, which is counted from the one before.
fn snapshot() -> impl Strategy<Value = (i64, v1::Snapshot)> {
    let network = (name(), maybe(bytes()), maybe(bytes())).prop_map(|(name, received, sent)| v1::Network {
        name,
        received,
        sent,
    });
    let sensor =
        (name(), maybe(-273.0..9_999.0_f32)).prop_map(|(name, celsius)| v1::Temperature { name, celsius });
    let load =
        proptest::array::uniform3(prop_oneof![0.0..1e6_f32, (0..900_i32).prop_map(|n| n as f32 / 100.0)]);
    let lists = (
        proptest::collection::vec(disk(), 0..5),
        proptest::collection::vec(network, 0..4),
        proptest::collection::vec(sensor, 0..4),
    );
    let step = prop_oneof![3 => Just(30_000_i64), 1 => 1..90_000_i64];
    let covers = prop_oneof![3 => Just(30_000_i64), 1 => 0..=2 * HOUR];
    let told = (maybe(agent()), maybe(host()), proptest::option::of(section()));
    (step, covers, maybe(cpu()), maybe(load), maybe(memory()), lists, told).prop_map(
        |(step, covers_ms, cpu, load, memory, (disks, networks, temperatures), (agent, host, processes))| {
            let raw = v1::Snapshot {
                sampled_at: 0,
                covers_ms,
                host,
                cpu,
                load,
                memory,
                disks,
                networks,
                temperatures,
                agent,
                processes,
            };
            (step, raw)
        },
    )
}

/// What one server may send in an hour: some kinds of snapshots, over and over, with what changes changing.
fn hour() -> impl Strategy<Value = Vec<Snapshot>> {
    proptest::collection::vec(snapshot(), 0..40).prop_map(|all| {
        let mut at = START - 1;
        let mut hour = Vec::new();
        for (step, raw) in all {
            at += step;
            if at < START + HOUR {
                hour.push(check(v1::Snapshot { sampled_at: at, ..raw }));
            }
        }
        hour
    })
}

/// A host as they are: an hour of small steps.
pub fn usual(seed: u64, rows: i64) -> Vec<Snapshot> {
    let mut state = seed;
    let mut next = |most: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as i64 % (2 * most + 1) - most
    };
    let (mut cpu, mut memory, mut disk) = (3_000, 1_500_000, 9_000_000);
    let rows = (0..rows).map(|row| {
        (cpu, memory) = ((cpu + next(150)).clamp(0, 9_000), memory + next(900));
        disk += next(20).max(0);
        let (user, total) = (cpu * 7 / 10, 4_000_000_u64 * 4_096);
        let used = (memory * 4_096) as u64;
        let disk = v1::Disk {
            mount: Some("/".into()),
            device: Some("/dev/sda1".into()),
            filesystem: Some("ext4".into()),
            total: Some(1 << 40),
            used: Some(disk as u64 * 4_096),
            read: Some(0),
            written: Some(40_000 + next(20_000).unsigned_abs()),
        };
        let at = START + 7_000 + row * 30_000 + next(3).max(0);
        let percent = |hundredths: i64| Some(hundredths as f32 / 100.0);
        check(v1::Snapshot {
            sampled_at: at,
            covers_ms: 30_000,
            host: (row % 60 == 0).then(|| v1::Host {
                hostname: Some("db-1".into()),
                os: Some("Debian 12".into()),
                ..v1::Host::default()
            }),
            cpu: Some(v1::Cpu {
                total: percent(cpu),
                user: percent(user),
                system: percent(cpu - user),
                iowait: Some(0.0),
                steal: None,
                cores: vec![cpu as f32 / 100.0, 1.5],
            }),
            load: Some([1.25, 1.5, 1.75]),
            memory: Some(v1::Memory {
                total: Some(total),
                used: Some(used),
                available: Some(total - used),
                swap_total: Some(0),
                swap_used: Some(0),
            }),
            disks: vec![disk],
            networks: vec![v1::Network {
                name: Some("eth0".into()),
                received: Some(90_000 + next(30_000).unsigned_abs()),
                sent: Some(20_000 + next(9_000).unsigned_abs()),
            }],
            temperatures: vec![v1::Temperature { name: Some("core".into()), celsius: Some(41.5) }],
            agent: None,
            processes: None,
        })
    });
    rows.collect()
}

proptest! {
    #[test]
    fn any_hour_comes_back_exactly(hour in hour()) {
        let block = write(START, &hour);
        let all = back(&block, Wanted::All).unwrap();
        prop_assert_eq!(json(&all), json(&hour));
        let figures = back(&block, Wanted::Figures).unwrap();
        prop_assert_eq!(figures.len(), hour.len());
        for (less, whole) in figures.iter().zip(&hour) {
            // A chart misses nothing by reading less. (NaN does not pass the check, so equality is enough.)
            prop_assert_eq!(Figures::of(less), Figures::of(whole));
        }
        let mut ran = Vec::new();
        processes(START, &block, |sample| ran.push(sample)).unwrap();
        let expected: Vec<Sampled> = hour.iter().filter_map(ran_in).collect();
        prop_assert_eq!(ran, expected);
        let stretches = stretches(START, &block).unwrap();
        let expected: Vec<_> = hour.iter().map(|one| (one.sampled_at(), one.covers())).collect();
        prop_assert_eq!(stretches, expected);
    }
}

#[test]
fn an_hour_of_each_second_comes_back_and_so_does_a_heavy_one() {
    let every_second: Vec<Snapshot> = (0..3_600)
        .map(|n| {
            check(v1::Snapshot { sampled_at: START + n * 1_000, covers_ms: 1_000, ..v1::Snapshot::default() })
        })
        .collect();
    assert_eq!(json(&back(&write(START, &every_second), Wanted::All).unwrap()), json(&every_second));
    let heavy: Vec<Snapshot> = (0..200)
        .map(|n| {
            let disk = |d: i64| v1::Disk {
                mount: Some(format!("/{n}/{d}/{}", "x".repeat(240))),
                ..v1::Disk::default()
            };
            let disks = (0..64).map(disk).collect();
            check(v1::Snapshot { sampled_at: START + n, disks, ..v1::Snapshot::default() })
        })
        .collect();
    assert_eq!(json(&back(&write(START, &heavy), Wanted::All).unwrap()), json(&heavy));
}

#[test]
fn a_usual_hour_takes_a_few_bytes_a_snapshot() {
    let hour = usual(7, 119);
    let block = write(START, &hour);
    assert_eq!(json(&back(&block, Wanted::All).unwrap()), json(&hour));
    println!("{} bytes for {} snapshots", block.len(), hour.len());
    assert!(block.len() < 16 * hour.len(), "{} bytes for {} snapshots", block.len(), hour.len());
}

/// What a release has written, each later one reads. `GOLDEN=1` writes them, for a new version.
#[test]
fn blocks_of_every_version_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let hour = usual(1, 40);
    let (block, lines) = (format!("{folder}/block-{VERSION}.bin"), format!("{folder}/block-{VERSION}.jsonl"));
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(&block, write(START, &hour)).unwrap();
        std::fs::write(&lines, json(&hour).join("\n") + "\n").unwrap();
    }
    for version in 1..=VERSION {
        let block = std::fs::read(format!("{folder}/block-{version}.bin")).unwrap();
        let lines = std::fs::read_to_string(format!("{folder}/block-{version}.jsonl")).unwrap();
        assert_eq!(json(&back(&block, Wanted::All).unwrap()), lines.lines().collect::<Vec<_>>());
    }
    assert_eq!(
        write(START, &hour),
        std::fs::read(&block).unwrap(),
        "another way to write is another version"
    );
}

#[test]
fn a_version_of_a_later_release_is_an_error() {
    let mut block = write(START, &usual(1, 3));
    block[0] = VERSION + 1;
    assert!(back(&block, Wanted::All).unwrap_err().contains("version"));
    assert!(back(&[], Wanted::All).is_err());
}

/// Reads it every way; whatever it is, that neither panics nor takes much memory.
fn survive(block: &[u8]) -> bool {
    let all = back(block, Wanted::All);
    let _ = (back(block, Wanted::Figures), stretches(START, block), processes(START, block, drop));
    all.is_ok()
}

/// With a checksum that is right, so that the damage is met by what lies behind it.
fn survive_behind_the_checksum(block: &mut [u8]) {
    if let Some((head, body)) = block.split_at_mut_checked(5) {
        head[0] = VERSION;
        head[1..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        survive(block);
    }
}

#[test]
fn damaged_bytes_are_an_error_and_never_a_panic() {
    let rounds = if std::env::var_os("ROLLCALL_PROVE").is_some() { 3_000_000 } else { 30_000 };
    let whole = write(START, &[usual(3, 50), busy(22).split_off(19)].concat());
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(stretches(START, &flipped).is_err(), "bit {bit} does not matter");
    }
    for length in 0..whole.len() {
        assert!(!survive(&whole[..length]), "{length} bytes are enough");
    }
    let mut state = 1_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for round in 0..rounds {
        let mut block = match round % 8 {
            0 => (0..next(200)).map(|_| next(256) as u8).collect(),
            _ => whole.clone(),
        };
        for _ in 0..=next(4) {
            let (at, length) = (next(block.len()), next(12));
            match next(4) {
                _ if block.is_empty() => {}
                0 => block[at] ^= 1 << next(8),
                1 => block[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)],
                2 => drop(block.drain(at..(at + length).min(block.len()))),
                _ => {
                    let copied: Vec<u8> =
                        block.iter().skip(next(block.len())).take(length).copied().collect();
                    block.splice(at..at, copied);
                }
            }
        }
        survive_behind_the_checksum(&mut block);
    }
}
