//! Services and scopes of the init system, by their control groups (cgroup v2).

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use wire::{bounds::MAX_UNITS, v1};

use super::{
    collect::share_of,
    stat::{is_unit, named},
};

/// Most control groups that are looked at.
const MOST_GROUPS: usize = 1_024;
/// How deep slices may lie in each other.
const DEEPEST: usize = 5;

/// The groups, and what each had used when it was looked at before.
#[derive(Debug, Default)]
pub struct Units {
    root: Option<PathBuf>,
    /// Memory and processes are counted where all controllers are of version 2.
    pure: bool,
    used: HashMap<String, u64>,
}

impl Units {
    /// Of what is mounted here, which may be no cgroup v2 at all.
    pub fn new(mount: &Path) -> Self {
        let pure = mount.join("cgroup.controllers").exists();
        let hybrid = Some(mount.join("unified")).filter(|mount| mount.join("cgroup.controllers").exists());
        let root = if pure { Some(mount.to_owned()) } else { hybrid };
        Self { root, pure, used: HashMap::new() }
    }

    /// Those that use most, and what they used since the time before.
    pub fn look(&mut self, passed: Option<Duration>) -> Vec<v1::Unit> {
        let Some(root) = &self.root else { return Vec::new() };
        let mut groups = Vec::new();
        find(root, 0, &mut groups);
        let mut units: BTreeMap<String, v1::Unit> = BTreeMap::new();
        let mut used = HashMap::new();
        for group in groups {
            let Some(name) = group.file_name().and_then(|name| name.to_str()) else { continue };
            let text = |file: &str| fs::read_to_string(group.join(file)).ok();
            let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
            let total = text("cpu.stat").and_then(|text| named(&text, "usage_usec"));
            let key = group.to_string_lossy().into_owned();
            let cpu = match (total, self.used.get(&key), passed) {
                (Some(total), Some(before), Some(passed)) => {
                    share_of(total.saturating_sub(*before) as f64 / 1e6, passed)
                }
                // A unit that is new used all of it since.
                (Some(total), None, Some(passed)) => share_of(total as f64 / 1e6, passed),
                _ => 0.0,
            };
            used.extend(total.map(|total| (key, total)));
            let pids = number("pids.current").filter(|_| self.pure);
            let running = match pids {
                Some(pids) => pids > 0,
                None => text("cgroup.events").and_then(|text| named(&text, "populated")) == Some(1),
            };
            let memory = number("memory.current").filter(|_| self.pure);
            // Units of one name are of several users; together they are one.
            let unit = units.entry(name.to_owned()).or_default();
            unit.running |= running;
            unit.cpu += cpu;
            unit.memory = sum(unit.memory, memory);
            unit.pids = sum(unit.pids, pids);
        }
        self.used = used;
        let mut units: Vec<v1::Unit> =
            units.into_iter().map(|(name, unit)| v1::Unit { name, ..unit }).collect();
        units.sort_by(|a, b| b.cpu.total_cmp(&a.cpu).then(b.memory.cmp(&a.memory)));
        units.truncate(MAX_UNITS);
        units.sort_by(|a, b| a.name.cmp(&b.name));
        units
    }
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.map_or(b, |a| Some(a.saturating_add(b.unwrap_or(0))))
}

/// Adds the units below a folder. What lies inside a unit is a part of it.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let Some(name) = name.to_str() else { continue };
        if found.len() >= MOST_GROUPS {
            return;
        }
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if is_unit(name) {
            found.push(path);
        } else if depth < DEEPEST {
            find(&path, depth + 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, group: &str, usage: u64, memory: u64) {
        let folder = root.join(group);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cpu.stat"), format!("usage_usec {usage}\nuser_usec 1\n")).unwrap();
        fs::write(folder.join("memory.current"), format!("{memory}\n")).unwrap();
        fs::write(folder.join("pids.current"), "4\n").unwrap();
        fs::write(folder.join("cgroup.events"), "populated 1\n").unwrap();
    }

    #[test]
    fn units_are_found_in_slices_and_counted_whole() {
        let dir = testkit::tempdir().unwrap();
        let root = dir.path();
        fs::write(root.join("cgroup.controllers"), "cpu").unwrap();
        put(root, "system.slice/nginx.service", 1_000_000, 70);
        put(root, "user.slice/user-1.slice/user@1.service", 500_000, 90);
        put(root, "user.slice/user-1.slice/user@1.service/app.slice/x.service", 400_000, 80);
        let mut units = Units::new(root);
        let second = Some(Duration::from_secs(1));
        assert_eq!(units.look(None).iter().map(|unit| unit.cpu).collect::<Vec<_>>(), [0.0, 0.0]);
        put(root, "system.slice/nginx.service", 1_250_000, 75);
        put(root, "machine.slice/docker-1.scope", 30_000, 5);
        let told = units.look(second);
        let of = |name: &str, cpu: f32, memory: u64| v1::Unit {
            name: name.to_owned(),
            running: true,
            cpu,
            memory: Some(memory),
            pids: Some(4),
        };
        let expected =
            [of("docker-1.scope", 3.0, 5), of("nginx.service", 25.0, 75), of("user@1.service", 0.0, 90)];
        assert_eq!(told, expected);
    }

    #[test]
    fn beside_the_controllers_of_before_only_processor_time_is_told() {
        let dir = testkit::tempdir().unwrap();
        assert_eq!(Units::new(dir.path()).look(None), []);
        put(&dir.path().join("unified"), "system.slice/a.service", 5, 6);
        fs::write(dir.path().join("unified/cgroup.controllers"), "").unwrap();
        let told = Units::new(dir.path()).look(None);
        assert_eq!((told[0].running, told[0].memory, told[0].pids), (true, None, None));
    }
}
