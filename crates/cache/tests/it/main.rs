//! The contract of the cache: the same cases for every variant.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod redis;

/// Stamps each case for each variant; `$open` makes an empty cache, and what has to outlive it.
macro_rules! contract {
    ($($case:ident)*) => {
        contract! { in_process, (cache::Cache::in_process(), ()); $($case)* }
        contract! { in_redis, crate::redis::opened().await; $($case)* }
    };
    ($variant:ident, $open:expr; $($case:ident)*) => {
        mod $variant {
            $(
                #[tokio::test]
                async fn $case() {
                    let (cache, _place) = $open;
                    crate::contract::$case(cache).await;
                }
            )*
        }
    };
}

contract! {
    what_was_seen_is_there
    older_never_wins
    back_fill_moves_silence_but_not_the_latest
    a_shorter_interval_counts_at_once
    what_was_heard_ahead_of_the_clock_loses_to_any_beat
    what_was_heard_ahead_of_the_clock_is_taken_as_heard_now
    silent_is_a_half_open_range_in_order
    a_server_that_answers_again_is_not_silent
    a_hundred_thousand_beats_of_a_thousand_servers_are_a_thousand_entries
    who_is_silent_for_a_week_is_no_longer_listed
    nothing_seen_and_nobody_asked_after_are_fine
    an_older_denylist_never_wins
    an_unknown_server_is_listed_once_by_its_newest_credential_for_a_day
    at_most_ten_thousand_unknown_servers_are_remembered_the_newest
    who_would_tell_is_remembered_for_a_day_and_the_lease_is_the_one_put_last
    at_most_a_thousand_agents_are_remembered_that_would_tell
    what_workers_wrote_is_added_up_and_forgotten_after_a_minute
    a_notice_is_told_when_it_changes_and_when_it_is_gone
    all_notices_at_once_replace_those_that_are_left_out
    failures_count_within_their_window
    failures_of_one_moment_all_count
    a_key_has_at_most_so_many_failures
    keys_fail_apart
}
