//! The contract of the history port, and what only a file, or only a cluster, can get wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bundles;
mod cluster;
mod contract;
mod file;
mod indices;
mod make;
mod overlaps;
mod packing;
mod processes;
mod rollups;
mod uptime;
mod workers;

/// Runs cases of the contract on a fresh store of each variant.
#[macro_export]
macro_rules! on_every_store {
    ($($case:ident)*) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let folder = testkit::tempdir().unwrap();
                    let store = history::History::open_sqlite(&folder.path().join("history.db"), 35).await.unwrap();
                    super::$case(store.clone()).await;
                    store.close().await;
                }
            )*
        }

        mod elasticsearch {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $crate::cluster::with(async |cluster| super::$case(cluster.open()).await).await;
                }
            )*
        }
    };
}
