//! What a snapshot may hold at most; the rest is cut, and counted.

use wire::{
    bounds::{MAX_CORES, MAX_DISKS, MAX_NETWORKS, MAX_TEMPERATURES, MAX_TEXT_BYTES},
    v1,
};

/// Cuts to the bounds of the interface. Answers how many entries and texts were cut.
pub(super) fn cut(snapshot: &mut v1::Snapshot) -> u64 {
    let mut cut = entries(&mut snapshot.disks, MAX_DISKS)
        + entries(&mut snapshot.networks, MAX_NETWORKS)
        + entries(&mut snapshot.temperatures, MAX_TEMPERATURES);
    if let Some(cpu) = &mut snapshot.cpu {
        cut += entries(&mut cpu.cores, MAX_CORES);
    }
    if let Some(v1::Host { hostname, os, kernel, arch, cpu_model, boot_at: _, agent_version }) =
        &mut snapshot.host
    {
        cut += [hostname, os, kernel, arch, cpu_model, agent_version].into_iter().map(text).sum::<u64>();
    }
    for disk in &mut snapshot.disks {
        cut += text(&mut disk.mount) + text(&mut disk.device) + text(&mut disk.filesystem);
    }
    cut += snapshot.networks.iter_mut().map(|network| text(&mut network.name)).sum::<u64>();
    cut + snapshot.temperatures.iter_mut().map(|sensor| text(&mut sensor.name)).sum::<u64>()
}

/// A share of 100, to the hundredth: more digits say nothing and cost bytes.
pub(super) fn percent(share: f64) -> f32 {
    rounded(share as f32).unwrap_or(0.0).min(100.0)
}

/// To the hundredth; `None` for what no sensor or load means.
pub(super) fn rounded(value: f32) -> Option<f32> {
    (-273.0..=10_000.0).contains(&value).then(|| (value * 100.0).round() / 100.0)
}

fn entries<T>(list: &mut Vec<T>, most: usize) -> u64 {
    let over = list.len().saturating_sub(most);
    list.truncate(most);
    over as u64
}

fn text(text: &mut Option<String>) -> u64 {
    let Some(text) = text else { return 0 };
    let before = text.len();
    text.retain(|c| c != '\0');
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    u64::from(text.len() != before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_cut_and_counted() {
        let name = Some("ä".repeat(200));
        let mut snapshot = v1::Snapshot {
            host: Some(v1::Host { os: Some("a\0b".to_owned()), ..v1::Host::default() }),
            cpu: Some(v1::Cpu { cores: vec![0.0; 1_030], ..v1::Cpu::default() }),
            disks: vec![v1::Disk { mount: name.clone(), ..v1::Disk::default() }; 65],
            networks: vec![v1::Network { name, ..v1::Network::default() }; 64],
            temperatures: vec![v1::Temperature::default(); 129],
            ..v1::Snapshot::default()
        };
        assert_eq!(cut(&mut snapshot), 1 + 6 + 1 + 64 + 64 + 1);
        fleet::Snapshot::check(snapshot.clone(), fleet::snapshot::Interval::DEFAULT).unwrap();
        assert_eq!(cut(&mut snapshot), 0);
    }

    #[test]
    fn numbers_are_short_and_sane() {
        assert_eq!(percent(33.333_333), 33.33);
        assert_eq!((percent(100.000_1), percent(-0.0), percent(f64::NAN)), (100.0, 0.0, 0.0));
        assert_eq!((rounded(f32::INFINITY), rounded(-300.0), rounded(41.256)), (None, None, Some(41.26)));
    }
}
