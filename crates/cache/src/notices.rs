//! Notices in this process: what gates tell single servers, and what changed since a gate asked last.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use fleet::ServerId;

use crate::Noticed;

/// So many more servers without a notice than with one are remembered for those who ask what changed.
const MOST_GONE: usize = 1_000;

/// By server, the version of its last change, and its notice if it has one.
#[derive(Default)]
pub struct Notices {
    version: i64,
    by_server: HashMap<ServerId, (i64, Option<Arc<str>>)>,
    /// What was taken away up to this version is forgotten.
    forgotten: i64,
}

impl Notices {
    pub fn put(&mut self, server: ServerId, notice: Option<&str>) {
        let version = self.version + 1;
        if self.set(server, notice, version) {
            self.version = version;
        }
    }

    pub fn put_all(&mut self, notices: &BTreeMap<ServerId, String>) {
        let version = self.version + 1;
        let gone: Vec<ServerId> =
            self.by_server.keys().filter(|server| !notices.contains_key(server)).copied().collect();
        let mut changed = false;
        for (server, notice) in notices {
            changed |= self.set(*server, Some(notice), version);
        }
        for server in gone {
            changed |= self.set(server, None, version);
        }
        if changed {
            self.version = version;
        }
        let there = self.by_server.values().filter(|(_, notice)| notice.is_some()).count();
        if self.by_server.len() > 2 * there + MOST_GONE {
            self.by_server.retain(|_, (_, notice)| notice.is_some());
            self.forgotten = self.version;
        }
    }

    /// Whether that is a change.
    fn set(&mut self, server: ServerId, notice: Option<&str>, version: i64) -> bool {
        let held = self.by_server.get(&server).and_then(|(_, held)| held.as_deref());
        let changed = held != notice;
        if changed {
            self.by_server.insert(server, (version, notice.map(Arc::from)));
        }
        changed
    }

    pub fn since(&self, since: Option<i64>) -> Noticed {
        let since = since.filter(|since| (self.forgotten..=self.version).contains(since));
        let mut notices = Vec::new();
        if since != Some(self.version) {
            for (server, (version, notice)) in &self.by_server {
                if since.map_or(notice.is_some(), |since| *version > since) {
                    notices.push((*server, notice.clone()));
                }
            }
        }
        Noticed { version: self.version, whole: since.is_none(), notices }
    }
}
