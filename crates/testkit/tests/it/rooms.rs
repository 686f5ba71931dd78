//! The storeys of the large crates. The ground knows no domain; a domain is a folder, of which others use only what its
//! `mod.rs` offers; the roof joins the domains, and nothing below it names it.

mod source;

use std::{fs, path::Path};

use self::source::{GLOB, Segments, declared, named, named_outside_of_tests};

/// The modules at the root of a crate, by their storey. A module that is not listed may not exist.
struct House {
    /// Where its sources are.
    folder: &'static str,
    ground: &'static [&'static str],
    domains: &'static [&'static str],
    /// Besides `lib.rs` and `main.rs`.
    roof: &'static [&'static str],
}

const HOUSES: [House; 3] = [
    House {
        folder: "crates/registry/src",
        ground: &["engine", "audit", "refusal"],
        domains: &["people", "servers", "pipeline", "reports", "alerts", "orders", "outbox"],
        roof: &["restored"],
    },
    House {
        folder: "services/server-management/src",
        ground: &["app", "http"],
        domains: &["people", "servers", "processes", "orders", "reports", "alerts", "operations"],
        roof: &["background", "commands", "openapi", "routes", "service", "settings"],
    },
    House {
        folder: "crates/fleet/src",
        ground: &["id", "text"],
        domains: &["access", "availability", "snapshot", "alert", "calendar", "messages", "order", "words"],
        roof: &[],
    },
];

/// A source: its path below the folder of sources, and what is in it.
type Source = (String, String);

#[test]
fn the_large_crates_keep_their_storeys() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut faults = Vec::new();
    for house in &HOUSES {
        let folder = root.join(house.folder);
        let mut sources = Vec::new();
        read(&folder, &folder, &mut sources);
        assert!(!sources.is_empty(), "{} has no sources", house.folder);
        faults.extend(judge(house, &sources).into_iter().map(|fault| format!("{}/{fault}", house.folder)));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// What the rest stands on: here files can be read one after the other, each after those that it names.
const GROUND: [&str; 7] = [
    "crates/wire/src",
    "crates/queue/src",
    "crates/cache/src",
    "crates/sheets/src",
    "crates/chassis/src",
    "crates/registry/src/engine",
    "services/server-management/src/http",
];

#[test]
fn no_two_files_of_the_ground_name_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut faults = Vec::new();
    for ground in GROUND {
        let source = root.join(ground.split_inclusive("src").next().unwrap());
        let mut sources = Vec::new();
        read(&source, &root.join(ground), &mut sources);
        assert!(!sources.is_empty(), "{ground} has no sources");
        faults.extend(circles(&sources).into_iter().map(|circle| format!("{ground}: {circle}")));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Pairs of files that cannot be understood one after the other. A module and those within it are one thing, and what only a
/// unit test names is no circle.
fn circles(sources: &[Source]) -> Vec<String> {
    let of_the_library = sources.iter().filter(|(path, _)| path != "main.rs");
    let (modules, texts): (Vec<Segments>, Vec<&str>) =
        of_the_library.map(|(path, text)| (module(path), text.as_str())).unzip();
    let rooms: Vec<&str> = modules.iter().filter_map(|module| module.first()).map(String::as_str).collect();
    let named: Vec<Vec<usize>> = texts
        .iter()
        .zip(&modules)
        .map(|(text, module)| {
            let names = named_outside_of_tests(text, module, &rooms);
            names.iter().filter_map(|name| innermost(&modules, name)).collect()
        })
        .collect();
    let mut circles = Vec::new();
    for (one, names) in named.iter().enumerate() {
        for other in names.iter().copied().filter(|other| one < *other && named[*other].contains(&one)) {
            let nested =
                modules[one].starts_with(&modules[other]) || modules[other].starts_with(&modules[one]);
            let circle = format!("{} and {}", modules[one].join("::"), modules[other].join("::"));
            if !nested && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
    }
    circles
}

/// The file in which a name is looked for, but for the root.
fn innermost(modules: &[Segments], name: &[String]) -> Option<usize> {
    let within =
        modules.iter().enumerate().filter(|(_, module)| !module.is_empty() && name.starts_with(module));
    within.max_by_key(|(_, module)| module.len()).map(|(index, _)| index)
}

#[test]
fn a_circle_of_two_files_is_found() {
    let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let circle = |one: &str, other: &str| {
        circles(&[
            source("lib.rs", "mod one; pub mod two; pub use one::A;"),
            source("one.rs", one),
            source("two/mod.rs", "pub mod other; use other::B; use crate::A;"),
            source("two/other.rs", other),
        ])
    };
    for (one, other) in [
        ("use crate::two::other::B;", "use crate::one::A;"),
        ("fn f() { crate::two::other::b(); }", "use super::super::one;"),
        ("use crate::two::{self, other};", "use crate::{one::A as C, two};"),
    ] {
        assert_eq!(circle(one, other), ["one and two::other"], "{one} {other}");
    }
    for (one, other) in [
        ("use crate::two::other::B;", "use crate::A; use super::B;"),
        ("use crate::two::other::B;", "mod tests { use crate::one::A; }"),
        ("use crate::two;", "use crate::one::A;"),
    ] {
        assert_eq!(circle(one, other), Vec::<String>::new(), "{one} {other}");
    }
}

fn read(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            sources.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What is wrong with a house. One of which no domain is a folder yet is not divided into storeys, and is left alone.
fn judge(house: &House, sources: &[Source]) -> Vec<String> {
    let House { ground, domains, roof, .. } = house;
    let modules: Vec<Segments> = sources.iter().map(|(path, _)| module(path)).collect();
    let is_folder = |domain: &str| sources.iter().any(|(path, _)| path.starts_with(&format!("{domain}/")));
    if !domains.iter().any(|domain| is_folder(domain)) {
        return Vec::new();
    }
    let rooms: Vec<&str> = [*ground, *domains, *roof].concat();
    let there = |room: &str| modules.iter().any(|module| module.first().is_some_and(|first| first == room));
    let missing = rooms
        .iter()
        .filter(|room| !there(room))
        .map(|room| format!("{room}: is in the table, and not there"));
    let mut faults: Vec<String> = missing.collect();
    for ((path, text), module) in sources.iter().zip(&modules) {
        // It is a crate of its own, and sees only what lib.rs makes public.
        if path == "main.rs" {
            continue;
        }
        let room = module.first().map(String::as_str);
        if let Some(room) = room.filter(|room| !rooms.contains(room)) {
            faults.push(format!("{path}: {room} is on no storey"));
        }
        for name in named(text, module, &rooms) {
            let Some(other) = name.first().map(String::as_str).filter(|other| Some(*other) != room) else {
                continue;
            };
            let below = room.is_some_and(|room| ground.contains(&room) || domains.contains(&room));
            let fault = if roof.contains(&other) && below {
                "the roof is above it"
            } else if !domains.contains(&other) {
                continue;
            } else if room.is_some_and(|room| ground.contains(&room)) {
                "the ground knows no domain"
            } else if reaches_in(sources, &name) {
                "of another domain only what its mod.rs offers, by name"
            } else {
                continue;
            };
            faults.push(format!("{path}: names {}; {fault}", name.join("::")));
        }
    }
    faults
}

/// The module that a file is.
fn module(path: &str) -> Segments {
    let path = path.strip_suffix(".rs").unwrap();
    let mut module: Segments = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || module.len() == 1 && ["lib", "main"].contains(&path)
    {
        module.pop();
    }
    module
}

/// Whether a name goes past what the `mod.rs` of its domain offers: into a module of it, unless that has the name of an
/// item that is offered, or to everything at once.
fn reaches_in(sources: &[Source], name: &[String]) -> bool {
    let [domain, item, rest @ ..] = name else { return false };
    let face = sources.iter().find(|(path, _)| module(path) == [domain.as_str()]);
    let (modules, offered) = face.map(|(_, text)| declared(text)).unwrap_or_default();
    item == GLOB || modules.contains(item) && !(rest.is_empty() && offered.contains(item))
}

/// A house like the large ones, with `text` in the file `path` of it.
fn faults(path: &str, text: &str) -> Vec<String> {
    let house = House { folder: "", ground: &["engine"], domains: &["people", "servers"], roof: &["routes"] };
    let offers = "mod users; mod roles { } mod first; pub(crate) use self::{first::first, users::User};";
    let plain =
        [("lib.rs", ""), ("engine/mod.rs", ""), ("people/mod.rs", offers), ("servers/mod.rs", "mod list;")];
    let more = [("people/users.rs", ""), ("servers/list.rs", ""), ("routes.rs", "")];
    let others = plain.into_iter().chain(more).filter(|(other, _)| *other != path);
    let sources: Vec<Source> =
        others.chain([(path, text)]).map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
    judge(&house, &sources)
}

#[test]
fn a_ground_that_knows_a_domain_is_found() {
    for text in [
        "use crate::people;",
        "use crate::people::User;",
        "use crate::{engine, people::{self as who, User}};",
        "use super::people::User;",
        "mod tests { use super::super::people::User; }",
        "mod tests { fn f() { crate::people::User::new(); } }",
        "use crate as all; fn f() { all::people::User::new(); }",
        "use crate::*; fn f() { people::User::new(); }",
        "fn f(user: &crate::people::User) {}",
        "impl Iterator for crate::people::User {}",
        "fn f() { let _ = vec![crate::people::User::new()]; }",
        "macro_rules! user { () => { $crate::people::User::new() }; }",
        "#[serde(with = \"crate::people\")] struct S;",
        "#[openapi(paths(crate::{engine::x, people::show}))] struct S;",
        "pub(in crate::people) struct S;",
    ] {
        assert!(faults("engine/mod.rs", text).concat().contains("the ground knows no domain"), "{text}");
    }
}

#[test]
fn a_domain_that_reaches_into_another_is_found() {
    for text in [
        "use crate::people::users;",
        "use crate::people::users::User;",
        "use crate::people::roles::Role;",
        "use crate::people::{User, users::{self}};",
        "use crate::people; fn f() { people::users::show(); }",
        "use crate::people as who; fn f() { who::users::show(); }",
        "use crate::people; use people::users::show;",
        "use crate::people::*;",
        "use crate::people::first::first;",
        "use super::super::people::users::show;",
        "fn f() -> crate::people::users::User {}",
        "fn f() { tracing::info!(user = %crate::people::users::show(), \"shown\"); }",
        "mod tests { use crate::people::users::User; }",
    ] {
        for path in ["servers/list.rs", "routes.rs", "lib.rs"] {
            let text = if path == "servers/list.rs" { text } else { &text.replace("super::super", "crate") };
            assert!(faults(path, text).concat().contains("only what its mod.rs offers"), "{path}: {text}");
        }
    }
    for text in
        ["pub use people::users::User;", "mod tests { use super::*; fn f() { people::users::show(); } }"]
    {
        assert!(!faults("lib.rs", text).is_empty(), "{text}");
    }
}

#[test]
fn whoever_names_the_roof_from_below_is_found() {
    for path in ["engine/mod.rs", "servers/list.rs"] {
        assert!(
            faults(path, "use crate::routes::PREFIX;").concat().contains("the roof is above it"),
            "{path}"
        );
    }
}

#[test]
fn what_the_storeys_allow_is_not_found() {
    for (path, text) in [
        (
            "engine/mod.rs",
            "use crate::engine::tx::Tx; use people::users::User; use ::people::users; use crate::Root;",
        ),
        (
            "engine/mod.rs",
            "/// See [`crate::people::User`].\n#[doc = \"crate::people\"] fn people() { let people = 1; }",
        ),
        ("servers/list.rs", "use crate::{engine::Tx, people, people::User}; fn f() { people::User::new(); }"),
        (
            "servers/list.rs",
            "use super::list; use crate::servers::list::{self, *}; use other::people::users::User;",
        ),
        (
            "people/mod.rs",
            "mod users; #[openapi(paths(users::show))] struct S; fn f() { vec![users::show()]; }",
        ),
        ("routes.rs", "use crate::{people, servers}; fn f() { vec![people::routes(), servers::routes()]; }"),
        ("lib.rs", "pub use people::{User, first, get}; use crate::engine::x::Y;"),
        ("main.rs", "use some::settings; fn main() { people::users::User::new(); }"),
    ] {
        assert_eq!(faults(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_module_without_a_storey_and_a_storey_without_a_module_are_found() {
    assert!(faults("helpers.rs", "").concat().contains("helpers is on no storey"));
    let house = House { folder: "", ground: &["engine"], domains: &["people", "servers"], roof: &[] };
    let source = |path: &str| (path.to_owned(), String::new());
    let half = [source("lib.rs"), source("people/mod.rs"), source("servers.rs")];
    assert_eq!(judge(&house, &half), ["engine: is in the table, and not there"]);
    let flat = [source("lib.rs"), source("people.rs"), source("whatever.rs")];
    assert_eq!(judge(&house, &flat), Vec::<String>::new());
}
