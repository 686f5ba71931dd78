//! What hosts say of orders.

use fleet::{
    Message, Millis, Outcome,
    id::{OrderId, UserId},
    messages::HostResult,
    wire::v1::{Order, OrderResult, Signature, SignedOrder, VERSION},
};
use registry::{Actor, NewOrder, OrderState, Registry, Who};

use crate::{
    app::{self, FIRST, NOW, beat, server},
    fleet as servers,
};

fn order_id() -> OrderId {
    OrderId::new(NOW, [1; 10])
}

/// A pending order to the server of this number.
async fn ordered(registry: &Registry, number: u8) {
    let user = UserId::new(NOW, [1; 10]);
    registry.make_first_admin(user, "admin", "hash", NOW).await.unwrap();
    let content = Order {
        version: VERSION,
        order: order_id().to_string(),
        server: server(number).to_string(),
        boot: "boot".to_owned(),
        kind: "unit.stop".to_owned(),
        process: None,
        unit: Some("shop.service".to_owned()),
        dry_run: false,
        not_after: NOW + 1_000,
        by: "admin".to_owned(),
        reason: "it hangs".to_owned(),
    };
    let signatures = vec![Signature { key: "management".to_owned(), sig: "c2ln".to_owned() }];
    let envelope = SignedOrder { payload: "e30".to_owned(), signatures };
    let by = Actor { who: Who::User(user), name: Some("admin".to_owned()), address: None };
    let order = NewOrder { id: order_id(), server: server(number), content, envelope };
    registry.make_order(&order, &by, NOW).await.unwrap().unwrap();
}

fn says(number: u8, generation: u32, state: &str, at: Millis) -> Message {
    let result =
        OrderResult { order: order_id().to_string(), state: state.to_owned(), at, ..OrderResult::default() };
    let result = HostResult::check(result).unwrap();
    Message::Results(vec![Outcome { server: server(number), generation, received_at: NOW, result }])
}

async fn state(registry: &Registry) -> OrderState {
    registry.order(order_id()).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_result_counts_once_and_only_from_its_own_server_with_a_credential_in_force() {
    let app = app::spawn().await;
    app.enrol(1).await;
    app.enrol(2).await;
    ordered(&app.registry, 1).await;
    // Another host, one that nobody knows, and the host's own credential of before it was revoked.
    for forged in [says(2, FIRST, "done", NOW), says(3, FIRST, "done", NOW), says(1, FIRST - 1, "done", NOW)]
    {
        app.publisher.publish(forged).await.unwrap();
    }
    assert_eq!(state(&app.registry).await, OrderState::Pending);
    app.publish(vec![beat(1, NOW)]).await.unwrap();
    app.publisher.publish(says(1, FIRST, "failed", NOW)).await.unwrap();
    assert_eq!(state(&app.registry).await, OrderState::Failed);
    app.publisher.publish(says(1, FIRST, "done", NOW)).await.unwrap();
    assert_eq!(state(&app.registry).await, OrderState::Failed, "the first word counts");
}

#[tokio::test]
async fn between_real_servers_a_result_ends_its_order() {
    servers::with(async |fleet| {
        fleet.enrol([1]).await;
        ordered(&fleet.registry, 1).await;
        let worker = fleet.worker("one", std::time::Duration::from_secs(600));
        fleet.publisher.publish(says(1, FIRST, "done", NOW)).await.unwrap();
        testkit::eventually("it ended", async || state(&fleet.registry).await == OrderState::Done).await;
        worker.stop().await;
        fleet.nothing_is_left().await;
    })
    .await;
}
