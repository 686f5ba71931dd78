//! The contract of the queue: the same cases for every variant, and what each promises beyond.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod in_process;
mod place;
mod rabbitmq;
mod weight;

/// Stamps each case for each variant; `$open` makes a queue in which four messages may wait.
macro_rules! contract {
    ($suite:ident, $variant:ident, #[$test:meta], $open:expr; $($case:ident)*) => {
        mod $variant {
            $(
                #[$test]
                async fn $case() {
                    let (publisher, consumer, _place) = $open;
                    crate::$suite::$case(publisher, consumer).await;
                }
            )*
        }
    };
}

/// Every variant keeps these.
macro_rules! contract_of_all {
    ($variant:ident, #[$test:meta], $open:expr) => {
        contract! { contract, $variant, #[$test], $open;
            what_is_published_arrives
            unacked_delivery_returns
            acked_delivery_never_returns
            first_published_is_first_received
            most_is_the_most
            full_is_unavailable_until_there_is_room
            a_message_outlives_its_publisher
            receiving_can_be_given_up
        }
    };
}

contract_of_all! { contract_in_process, #[tokio::test(start_paused = true)], crate::place::in_process(4) }
contract_of_all! { contract_rabbitmq, #[tokio::test], crate::place::rabbitmq(4).await }

contract! { in_process, only_in_process, #[tokio::test(start_paused = true)], crate::place::in_process(4);
    publish_returns_after_ack
    unacked_delivery_is_not_settled
    what_returns_keeps_its_order_and_its_changes
    full_is_told_at_once
    refused_parts_come_back_to_the_publisher
    closed_is_unavailable
    a_lost_consumer_frees_those_who_wait
    silence_of_ten_seconds_is_unavailable
    all_that_waits_comes_at_once
    the_head_of_the_queue_comes_first
    no_publisher_is_the_end
    receiving_waits_for_a_message
}
