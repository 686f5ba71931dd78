//! The storeys of a crate: its ground knows no domain, a domain uses of another only what that one's `mod.rs` offers,
//! and no two domains need each other. Whatever is in neither list is the roof, which may use everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

struct House {
    /// Its folder, from the root of the repository.
    sources: &'static str,
    ground: &'static [&'static str],
    domains: &'static [&'static str],
}

const HOUSES: [House; 1] = [House {
    sources: "crates/fleet/src",
    ground: &["id", "text"],
    domains: &["access", "availability", "calendar", "messages", "snapshot"],
}];

impl House {
    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(self.sources)
    }

    /// What is wrong with a file of this text in that room, and the domains that it uses.
    fn judge(&self, room: &str, text: &str) -> (Vec<String>, BTreeSet<String>) {
        let offered = self.offered_by_the_roof();
        let (mut faults, mut used) = (Vec::new(), BTreeSet::new());
        for path in paths(text) {
            let first = offered.get(&path[0]).unwrap_or(&path[0]);
            if first == room || !self.domains.contains(&first.as_str()) {
                continue;
            }
            let told = format!("{}: {room} uses {}", self.sources, path.join("::"));
            if self.ground.contains(&room) {
                faults.push(format!("{told}, but ground knows no domain"));
            }
            let inner = path.get(1).filter(|_| path[0] == *first);
            if inner.is_some_and(|inner| self.is_module(first, inner)) {
                faults.push(format!("{told}, but a domain offers only what its mod.rs does"));
            }
            used.insert(first.clone());
        }
        (faults, used)
    }

    /// `pub use domain::Name` in lib.rs makes `crate::Name` a way into that domain.
    fn offered_by_the_roof(&self) -> BTreeMap<String, String> {
        let root = fs::read_to_string(self.folder().join("lib.rs")).unwrap();
        let shown = root.replace("pub use ", "pub use crate::");
        let pairs = paths(&shown).into_iter().filter(|path| path.len() > 1);
        pairs.map(|path| (path[path.len() - 1].clone(), path[0].clone())).collect()
    }

    fn is_module(&self, domain: &str, name: &str) -> bool {
        let folder = self.folder().join(domain);
        folder.join(format!("{name}.rs")).exists() || folder.join(name).is_dir()
    }
}

/// The paths that begin with `crate::`, without that, and with their trees spelt out: `crate::{a, b::{c, d}}` gives
/// `a`, `b::c` and `b::d`.
fn paths(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = lines.join("\n");
    let mut found = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        tree(&code[at + start.len()..], &[], &mut found);
    }
    found
}

/// Reads one tree of paths and returns what is behind it.
fn tree<'a>(text: &'a str, before: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut rest = text.trim_start();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = tree(rest, before, found);
            let Some(end) = rest.find([',', '}']) else { return "" };
            let more = rest.as_bytes()[end] == b',';
            rest = rest[end + 1..].trim_start();
            if !more || rest.starts_with('}') {
                return rest.trim_start_matches('}');
            }
        }
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let path = [before, &[rest[..end].to_owned()]].concat();
    if let Some(deeper) = rest[end..].strip_prefix("::").filter(|deeper| !deeper.starts_with('<')) {
        return tree(deeper, &path, found);
    }
    found.push(path);
    &rest[end..]
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn room_of(sources: &Path, file: &Path) -> String {
    let first = file.strip_prefix(sources).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Takes away, again and again, the domains that need none of those left. What remains is a circle.
fn circle(mut arrows: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let left: BTreeSet<String> = arrows.keys().cloned().collect();
        let before = arrows.len();
        arrows.retain(|_, used| !used.is_disjoint(&left));
        if arrows.len() == before {
            return left.into_iter().collect();
        }
    }
}

#[test]
fn every_house_keeps_to_its_storeys() {
    for house in &HOUSES {
        let sources = house.folder();
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for room in house.ground.iter().chain(house.domains) {
            let there = sources.join(room).is_dir() || sources.join(format!("{room}.rs")).exists();
            assert!(there, "{} has no room {room}", house.sources);
        }
        for file in files(&sources) {
            let room = room_of(&sources, &file);
            if !house.ground.contains(&room.as_str()) && !house.domains.contains(&room.as_str()) {
                continue;
            }
            let (faults, used) = house.judge(&room, &fs::read_to_string(&file).unwrap());
            assert!(faults.is_empty(), "{}: {faults:?}", file.display());
            arrows.entry(room).or_default().extend(used);
        }
        let circle = circle(arrows);
        assert!(circle.is_empty(), "{}: {circle:?} need each other", house.sources);
    }
}

#[test]
fn what_is_forbidden_is_found() {
    let fleet = &HOUSES[0];
    let faults = |room: &str, text: &str| fleet.judge(room, text).0.len();
    assert_eq!(faults("text", "use crate::{Millis, snapshot::Interval};"), 1);
    assert_eq!(faults("text", "use crate::Snapshot;"), 1, "by way of the roof");
    assert_eq!(
        faults("messages", "use crate::{\n    Millis,\n    availability::liveness::{silent_at, Status},\n};"),
        2
    );
    assert_eq!(
        faults("messages", "use crate::{ServerId, availability::{Pipeline, silent_at}, snapshot::Snapshot};"),
        0
    );
    assert_eq!(faults("messages", "fn f() -> crate::snapshot::check::Fault {}"), 1);
    let arrow = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    assert_eq!(circle([arrow("a", "b"), arrow("b", "a"), arrow("c", "a")].into()), ["a", "b", "c"]);
    assert!(circle([arrow("a", "b"), arrow("c", "a")].into()).is_empty());
}
