//! A place of its own in the Elasticsearch that `make services` starts.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    panic::{AssertUnwindSafe, resume_unwind},
};

use futures_util::FutureExt;
use history::History;
use serde_json::Value;

/// A prefix that no other test has.
pub struct Cluster {
    url: String,
    pub prefix: String,
}

/// Runs a case, and removes what it left behind, also when it fails.
pub async fn with(case: impl AsyncFnOnce(&Cluster)) {
    let url = std::env::var("ELASTICSEARCH_URL").unwrap_or_else(|_| {
        panic!("ELASTICSEARCH_URL is not set: `make services` starts the servers, and `make test` uses them")
    });
    let cluster = Cluster { url, prefix: format!("test-{:x}", RandomState::new().hash_one(0)) };
    let outcome = AssertUnwindSafe(case(&cluster)).catch_unwind().await;
    cluster.remove().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

impl Cluster {
    pub fn open(&self) -> History {
        History::open_elasticsearch(&self.url.parse().unwrap(), &self.prefix, 35).unwrap()
    }

    /// By way of a proxy.
    pub fn open_at(&self, addr: SocketAddr) -> History {
        History::open_elasticsearch(&format!("http://{addr}").parse().unwrap(), &self.prefix, 35).unwrap()
    }

    /// Where a proxy finds it.
    pub async fn addr(&self) -> SocketAddr {
        let place = self.url.rsplit_once('@').map_or(self.url.as_str(), |(_, place)| place);
        let place = place.trim_start_matches("http://").trim_end_matches('/');
        tokio::net::lookup_host(place).await.unwrap().next().unwrap()
    }

    pub fn index(&self, date: &str) -> String {
        format!("{}-snapshots-{date}", self.prefix)
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = testkit::http().get(format!("{}/{path}", self.url.trim_end_matches('/'))).send().await;
        answer.unwrap_or_else(|error| nobody(&error.to_string())).json().await.unwrap()
    }

    pub async fn put(&self, path: &str, body: Value) {
        let request = testkit::http().put(format!("{}/{path}", self.url.trim_end_matches('/'))).json(&body);
        let answer = request.send().await.unwrap_or_else(|error| nobody(&error.to_string()));
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    pub async fn delete(&self, path: &str) {
        let request = testkit::http().delete(format!("{}/{path}", self.url.trim_end_matches('/')));
        request.send().await.unwrap_or_else(|error| nobody(&error.to_string()));
    }

    /// Documents that a refresh makes visible.
    pub async fn count(&self) -> u64 {
        let indices = format!("{}-snapshots-*", self.prefix);
        self.get(&format!("{indices}/_refresh")).await;
        self.get(&format!("{indices}/_count")).await["count"].as_u64().unwrap()
    }

    async fn remove(&self) {
        let indices = self.get(&format!("{}-*/_alias", self.prefix)).await;
        for names in indices.as_object().unwrap().keys().cloned().collect::<Vec<_>>().chunks(20) {
            self.delete(&names.join(",")).await;
        }
        self.delete(&format!("_index_template/{}-snapshots", self.prefix)).await;
    }
}

fn nobody(error: &str) -> ! {
    panic!(
        "nobody answers at ELASTICSEARCH_URL ({error}): `make services` starts the servers, and `make test` uses them"
    )
}
