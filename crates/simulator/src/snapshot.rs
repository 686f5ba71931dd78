//! A snapshot of the usual shape and size: cpu, load, memory, two disks, two networks.

use std::io::Write;

use fleet::Millis;

/// Writes one snapshot of about 390 bytes. `seed` varies the measurements, so that neither compression nor a cache has
/// an easier time than with real hosts.
pub fn write(out: &mut Vec<u8>, sampled_at: Millis, covers: Millis, seed: u64) {
    let r = scramble(seed);
    let bits = |shift: u32, below: u64| (r >> shift) % below;
    let (user, system) = (bits(0, 600), bits(10, 300));
    let used = 4_000_000_000 + bits(7, 9_000_000_000);
    let disk = 20_000_000_000 + bits(3, 60_000_000_000);
    let written = write!(
        out,
        concat!(
            r#"{{"sampled_at":{},"covers_ms":{},"cpu":{{"total":{}.{},"user":{}.{},"system":{}.{}}},"#,
            r#""load":[{}.{},{}.{},0.41],"memory":{{"total":16777216000,"used":{},"available":{}}},"#,
            r#""disks":[{{"mount":"/","total":105089261568,"used":{}}},"#,
            r#"{{"mount":"/srv","total":210178523136,"used":{}}}],"#,
            r#""networks":[{{"name":"eth0","received":{},"sent":{}}},{{"name":"lo","received":{}}}]}}"#,
        ),
        sampled_at,
        covers,
        (user + system) / 10,
        (user + system) % 10,
        user / 10,
        user % 10,
        system / 10,
        system % 10,
        bits(12, 8),
        bits(15, 10),
        bits(20, 8),
        bits(25, 10),
        used,
        16_777_216_000 - used,
        disk,
        disk + bits(9, 90_000_000_000),
        100_000 + bits(30, 9_000_000),
        10_000 + bits(33, 900_000),
        1_000 + bits(40, 9_000),
    );
    debug_assert!(written.is_ok(), "a Vec takes every write");
}

/// splitmix64: what is near becomes far.
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use fleet::{Interval, Snapshot};

    use super::*;

    #[test]
    fn it_is_a_snapshot_of_the_usual_size() {
        for seed in 0..1_000 {
            let mut bytes = Vec::new();
            write(&mut bytes, 1_790_000_000_000, 30_000, seed);
            assert!((370..=405).contains(&bytes.len()), "{} bytes", bytes.len());
            let raw = serde_json::from_slice(&bytes).unwrap();
            let snapshot = Snapshot::check(raw, Interval::DEFAULT).unwrap();
            assert_eq!(serde_json::to_vec(&snapshot).unwrap().len(), bytes.len(), "nothing is unknown");
        }
    }
}
