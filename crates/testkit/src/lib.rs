//! For tests alone: the real servers, a proxy that breaks the network, stand-ins for chats and webhooks, waiting for a
//! condition, an HTTP client, and programs in Python.
#![warn(missing_docs)]

mod exposition;
mod proxy;
mod python;
mod receiver;
mod servers;

use std::{
    pin::pin,
    sync::Once,
    time::{Duration, Instant},
};

pub use exposition::{DocumentedMetric, documented_metrics, families, promtool};
pub use proxy::Proxy;
pub use python::python;
pub use receiver::{Receiver, Reply, Service, Taken};
pub use servers::{Door, Server, Servers};
pub use tempfile::{TempDir, tempdir};

/// How long a condition may take to come true, or an answer to come. A test that fails takes that long, so it may be
/// generous: a machine that does much else is no reason to fail.
const PATIENCE: Duration = Duration::from_secs(120);

/// How soon to look again, at the soonest.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `holds` answers true; fails the test, naming `what` it waited for, if it never does.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, holds: F) {
    eventually_within(PATIENCE, what, holds).await;
}

/// The same, for what takes its time.
pub async fn eventually_within<F: AsyncFnMut() -> bool>(patience: Duration, what: &str, mut holds: F) {
    let begun = Instant::now();
    loop {
        let looked = Instant::now();
        if pin!(holds()).await {
            return;
        }
        assert!(begun.elapsed() < patience, "waited in vain: {what}");
        // Who looks leaves the thread to those who are looked at, half of the time at least.
        tokio::time::sleep(looked.elapsed().max(LOOK_EVERY)).await;
    }
}

/// An HTTP client that follows no redirect and gives up after two minutes.
///
/// # Panics
/// When the client cannot be built, which fails the test.
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
pub fn http() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    // A test may be busy for longer than a server keeps a connection, and would use one that is closed.
    let client = reqwest::Client::builder().timeout(PATIENCE).pool_idle_timeout(Duration::from_secs(5));
    let client = client.redirect(reqwest::redirect::Policy::none());
    client.build().expect("an HTTP client")
}
