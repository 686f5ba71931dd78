//! The contract of the queue: the same cases for every variant.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod weight;

/// Stamps each case for each variant; `$open` makes a queue in which four messages may wait.
macro_rules! contract {
    ($variant:ident, $open:expr; $($case:ident)*) => {
        mod $variant {
            $(
                #[tokio::test(start_paused = true)]
                async fn $case() {
                    let (publisher, consumer) = $open;
                    crate::contract::$case(publisher, consumer).await;
                }
            )*
        }
    };
}

contract! { in_process, queue::in_process(4, |_| 1);
    publish_returns_after_ack
    unacked_delivery_returns
    what_returns_keeps_its_order_and_its_changes
    full_is_unavailable
    refused_parts_come_back_to_the_publisher
    closed_is_unavailable
    a_lost_consumer_frees_those_who_wait
    silence_of_ten_seconds_is_unavailable
    all_that_waits_comes_at_once
    most_is_the_most
    a_message_outlives_its_publisher
    no_publisher_is_the_end
    receiving_can_be_given_up
}
