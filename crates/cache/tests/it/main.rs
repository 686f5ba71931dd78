//! The contract of the cache: the same cases for every variant.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;

/// Stamps each case for each variant; `$open` makes an empty cache.
macro_rules! contract {
    ($variant:ident, $open:expr; $($case:ident)*) => {
        mod $variant {
            $(
                #[tokio::test]
                async fn $case() {
                    crate::contract::$case($open).await;
                }
            )*
        }
    };
}

contract! { in_process, cache::Cache::in_process();
    what_was_seen_is_there
    older_never_wins
    back_fill_moves_silence_but_not_the_latest
    silent_is_a_half_open_range_in_order
    a_server_that_answers_again_is_not_silent
    a_million_beats_of_a_thousand_servers_are_a_thousand_entries
    an_older_denylist_never_wins
    failures_count_within_their_window
    keys_fail_apart
}
