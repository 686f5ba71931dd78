//! Who may depend on whom. The table of ARCHITECTURE.md, held against what cargo says.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Each of our crates and which of ours it may use. A crate that is not listed may not exist.
const OURS: [(&str, &[&str]); 18] = [
    ("wire", &[]),
    ("queue", &[]),
    ("chassis", &[]),
    ("testkit", &[]),
    ("sheets", &[]),
    ("fleet", &["wire"]),
    ("registry", &["fleet", "wire"]),
    ("history", &["fleet", "wire"]),
    ("cache", &["fleet", "wire"]),
    ("rollcall-agent", &["fleet", "wire"]),
    ("healthcheck-server", &["fleet", "wire", "chassis", "queue", "cache"]),
    ("healthcheck-worker", &["fleet", "wire", "chassis", "queue", "registry", "history", "cache"]),
    ("server-management", &["fleet", "wire", "chassis", "queue", "registry", "history", "cache", "sheets"]),
    ("mail", &["fleet", "chassis", "queue", "registry", "sheets"]),
    ("notifier", &["fleet", "chassis", "registry"]),
    ("standalone", &ALL),
    ("simulator", &ALL),
    ("bench", &ALL),
];

const ALL: [&str; 15] = [
    "wire",
    "fleet",
    "queue",
    "chassis",
    "registry",
    "history",
    "cache",
    "sheets",
    "rollcall-agent",
    "healthcheck-server",
    "healthcheck-worker",
    "server-management",
    "mail",
    "notifier",
    "standalone",
];

/// What is for tests is a dependency of these alone; anyone may have it among those for tests.
const FOR_TESTS: [(&str, &[&str]); 2] = [("simulator", &["testkit"]), ("bench", &["testkit", "simulator"])];

/// Outside crates that have one home, so that what is known about them is known in one place.
const HOMES: [(&str, &[&str]); 14] = [
    ("lapin", &["queue"]),
    ("sqlx", &["registry", "history"]),
    ("elasticsearch", &["history"]),
    ("redis", &["cache"]),
    ("lettre", &["mail"]),
    ("cron", &["fleet"]),
    ("chrono-tz", &["fleet"]),
    ("sysinfo", &["rollcall-agent"]),
    ("rust_xlsxwriter", &["sheets"]),
    ("calamine", &["sheets"]),
    ("csv-core", &["sheets"]),
    ("quick-xml", &["sheets"]),
    ("zip", &["sheets"]),
    ("async-trait", &[]),
];

/// Crates that may use what they like.
const FREE: [&str; 3] = ["bench", "simulator", "testkit"];

fn metadata() -> Metadata {
    MetadataCommand::new().no_deps().other_options(["--locked".to_owned()]).exec().unwrap()
}

/// Every dependency that is not for tests alone, as (crate, what it uses).
fn dependencies() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for package in metadata().packages {
        for dependency in &package.dependencies {
            if dependency.kind != DependencyKind::Development {
                all.push((package.name.to_string(), dependency.name.clone()));
            }
        }
    }
    all
}

#[test]
fn each_crate_uses_only_what_the_table_allows() {
    for package in metadata().packages {
        assert!(
            OURS.iter().any(|(name, _)| *name == package.name.as_str()),
            "{} is not in the table",
            package.name
        );
    }
    for (user, used) in dependencies() {
        let ours = OURS.iter().any(|(name, _)| *name == used);
        let mut allowed = OURS.iter().chain(&FOR_TESTS);
        let allowed = allowed.any(|(name, may)| *name == user && may.contains(&used.as_str()));
        assert!(!ours || allowed, "{user} may not use {used}");
    }
}

/// Whoever wants only a type must not have to take more with it.
#[test]
fn the_wire_types_need_serde_alone() {
    let used: Vec<String> =
        dependencies().into_iter().filter(|(user, _)| user == "wire").map(|(_, used)| used).collect();
    assert_eq!(used, ["serde"]);
}

#[test]
fn each_outside_crate_stays_in_its_home() {
    for (user, used) in dependencies() {
        if let Some((_, homes)) = HOMES.iter().find(|(name, _)| *name == used) {
            let at_home = homes.contains(&user.as_str()) || FREE.contains(&user.as_str());
            assert!(at_home, "{used} lives in {homes:?}, not in {user}");
        }
    }
}
