//! The contract of the history port, and what only a file can get wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod file;
mod make;
mod uptime;

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
    };
}
