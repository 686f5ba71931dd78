//! A place of its own in the Elasticsearch that `make services` starts.

use history::History;
use serde_json::Value;
use testkit::{Server, Servers};

/// A prefix that no other test has.
pub struct Cluster {
    pub servers: Servers,
}

/// Runs a case, and removes what it left behind, also when it fails.
pub async fn with(case: impl AsyncFnOnce(&Cluster)) {
    case(&Cluster { servers: Servers::of(&[Server::Elasticsearch]).await }).await;
}

impl Cluster {
    pub fn prefix(&self) -> &str {
        self.servers.prefix()
    }

    pub fn open(&self) -> History {
        self.open_at(&self.servers.elasticsearch().direct)
    }

    /// By way of its proxy.
    pub fn open_by_proxy(&self) -> History {
        self.open_at(&self.servers.elasticsearch().url)
    }

    fn open_at(&self, url: &str) -> History {
        History::open_elasticsearch(&url.parse().unwrap(), self.prefix(), 35).unwrap()
    }

    pub fn index(&self, date: &str) -> String {
        format!("{}-snapshots-{date}", self.prefix())
    }

    pub async fn get(&self, path: &str) -> Value {
        self.servers.ask_elasticsearch("GET", path, None).await
    }

    pub async fn put(&self, path: &str, body: Value) {
        let answer = self.servers.ask_elasticsearch("PUT", path, Some(body)).await;
        assert_eq!(answer["acknowledged"], true, "{answer}");
    }

    pub async fn delete(&self, path: &str) {
        self.servers.ask_elasticsearch("DELETE", path, None).await;
    }

    /// Documents that a refresh makes visible.
    pub async fn count(&self) -> u64 {
        let indices = format!("{}-snapshots-*", self.prefix());
        self.get(&format!("{indices}/_refresh")).await;
        self.get(&format!("{indices}/_count")).await["count"].as_u64().unwrap()
    }
}
