//! Orders: who may, once, and in which order things happen.

use std::collections::BTreeMap;

use fleet::{
    Millis, Scope, ServerId,
    id::{OrderId, UserId},
    messages::{HostResult, Outcome},
    wire::v1::{Order, OrderResult, Signature, SignedOrder, VERSION},
};
use registry::{
    Actor, ImportFault, ImportOutcome, ImportRow, NewAccount, NewOrder, OrderFilter, OrderState,
    ProfileChange, Refusal, StoredOrder, Taken, Who,
};

use crate::store::{ALL, FIRST, NOW, Store, server_id};

const MINUTE: Millis = 60_000;
const ENDS: Millis = NOW + 5 * MINUTE;

/// A user who is there.
async fn user(store: &Store, number: u8) -> Actor {
    let (id, name) = (UserId::new(NOW, [number; 10]), format!("user {number}"));
    let account = NewAccount { id, username: &name, email: None, role: "admin", password_hash: "hash" };
    store.registry.make_account(account, &Scope::ALL, &Actor::system(), NOW).await.unwrap().unwrap();
    Actor { who: Who::User(id), name: Some(name), address: None }
}

fn order_id(number: u16) -> OrderId {
    let mut random = [0; 10];
    random[..2].copy_from_slice(&number.to_be_bytes());
    OrderId::new(NOW, random)
}

pub fn signature(key: &str) -> Signature {
    Signature { key: key.to_owned(), sig: "c2ln".to_owned() }
}

pub fn new_order(number: u16, server: ServerId) -> NewOrder {
    let id = order_id(number);
    let content = Order {
        version: VERSION,
        order: id.to_string(),
        server: server.to_string(),
        boot: "0b6f9d3e-5a1c-4a44-9c1e-2f1d3a4b5c6d".to_owned(),
        kind: "unit.restart".to_owned(),
        process: None,
        unit: Some("shop.service".to_owned()),
        dry_run: false,
        not_after: ENDS,
        by: "user 1".to_owned(),
        reason: "it hangs".to_owned(),
    };
    let envelope = SignedOrder { payload: "e30".to_owned(), signatures: vec![signature("management")] };
    NewOrder { id, server, content, envelope }
}

/// What the host says of this order.
pub fn outcome(order: OrderId, server: ServerId, state: &str) -> Outcome {
    let result =
        OrderResult { order: order.to_string(), state: state.to_owned(), at: NOW, ..OrderResult::default() };
    Outcome { server, generation: FIRST, received_at: NOW, result: HostResult::check(result).unwrap() }
}

async fn make(store: &Store, number: u16, server: ServerId, by: &Actor) -> StoredOrder {
    store.registry.make_order(&new_order(number, server), by, NOW).await.unwrap().unwrap()
}

/// A pending order.
pub async fn ordered(store: &Store, server: ServerId) -> OrderId {
    make(store, 1, server, &user(store, 9).await).await.id
}

async fn state(store: &Store, id: OrderId) -> OrderState {
    store.registry.order(id).await.unwrap().unwrap().state
}

/// A server that asks for so many approvals.
async fn asks_for(store: &Store, server: ServerId, approvals: &str) {
    let labels = [("approvals".to_owned(), approvals.to_owned())].into();
    let change =
        ProfileChange { labels: Some(labels), may_change_approvals: true, ..ProfileChange::default() };
    store.registry.change_server(server, None, &change, &Actor::system(), NOW).await.unwrap().unwrap();
}

async fn order_actions(store: &Store) -> Vec<String> {
    let actions = store.actions().await.into_iter();
    actions.filter(|action| action.starts_with("order.")).collect()
}

pub async fn an_order_is_signed_at_once_and_ends_by_what_its_host_says_first(store: Store) {
    let (server, by) = (store.enrol(1, "web").await, user(&store, 1).await);
    let made = make(&store, 1, server, &by).await;
    assert_eq!(
        (made.state, made.signed_at, made.server_name.as_str()),
        (OrderState::Pending, Some(NOW), "web")
    );
    assert_eq!(made.envelope.signatures, [signature("management")]);
    assert_eq!(store.registry.pending_orders(NOW).await.unwrap(), std::slice::from_ref(&made));
    assert_eq!(store.registry.pending_orders(ENDS).await.unwrap(), []);
    let (failed, done) = (outcome(made.id, server, "failed"), outcome(made.id, server, "done"));
    let taken = store.registry.end_orders(&[&failed], NOW + 1).await.unwrap();
    assert_eq!(taken, Taken { counted: 1, left: 0 });
    let taken = store.registry.end_orders(&[&done, &failed], NOW + 2).await.unwrap();
    assert_eq!(taken, Taken { counted: 0, left: 2 }, "the first one counts");
    let ended = store.registry.order(made.id).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.updated_at, ended.version), (OrderState::Failed, NOW + 1, 2));
    assert_eq!(ended.result.as_ref(), Some(failed.result.as_wire()));
    assert_eq!(store.registry.pending_orders(NOW).await.unwrap(), []);
    assert_eq!(order_actions(&store).await, ["order.create", "order.end"]);
}

pub async fn a_result_counts_only_from_the_orders_own_server_and_once_it_is_signed(store: Store) {
    let (web, db, by) = (store.enrol(1, "web").await, store.enrol(2, "db").await, user(&store, 1).await);
    asks_for(&store, db, "1").await;
    let (pending, awaiting) = (make(&store, 1, web, &by).await, make(&store, 2, db, &by).await);
    let forged = [
        outcome(pending.id, db, "done"),
        outcome(awaiting.id, db, "done"),
        outcome(order_id(99), web, "done"),
    ];
    let taken = store.registry.end_orders(&forged.each_ref(), NOW).await.unwrap();
    assert_eq!(taken, Taken { counted: 0, left: 3 });
    assert_eq!(state(&store, pending.id).await, OrderState::Pending);
    assert_eq!(state(&store, awaiting.id).await, OrderState::Awaiting);
    store.registry.cancel_order(awaiting.id, &by, NOW).await.unwrap().unwrap();
    let taken = store.registry.end_orders(&[&forged[1]], NOW).await.unwrap();
    assert_eq!(taken.counted, 0, "nothing was ever signed that could have been done");
    assert_eq!(order_actions(&store).await, ["order.create", "order.create", "order.cancel"]);
}

pub async fn a_result_beats_that_an_order_was_taken_back_or_its_time_is_over(store: Store) {
    let (server, by) = (store.enrol(1, "web").await, user(&store, 1).await);
    let (first, second) = (make(&store, 1, server, &by).await, make(&store, 2, server, &by).await);
    let registry = &store.registry;
    let cancelled = registry.cancel_order(first.id, &by, NOW).await.unwrap().unwrap();
    assert_eq!((cancelled.state, cancelled.cancelled_by.as_deref()), (OrderState::Cancelled, Some("user 1")));
    assert_eq!(registry.cancel_order(first.id, &by, NOW).await.unwrap().unwrap(), cancelled, "twice is once");
    assert_eq!(registry.expire_orders(ENDS - 1).await.unwrap(), 0);
    assert_eq!(registry.expire_orders(ENDS).await.unwrap(), 1);
    assert_eq!(registry.expire_orders(ENDS).await.unwrap(), 0);
    assert_eq!(state(&store, second.id).await, OrderState::Expired);
    let outcomes = [outcome(first.id, server, "done"), outcome(second.id, server, "unknown")];
    assert_eq!(registry.end_orders(&outcomes.each_ref(), ENDS).await.unwrap().counted, 2);
    assert_eq!(state(&store, first.id).await, OrderState::Done);
    assert_eq!(state(&store, second.id).await, OrderState::Unknown);
    assert_eq!(registry.cancel_order(first.id, &by, ENDS).await.unwrap(), Err(Refusal::Changed));
}

pub async fn a_cancellation_and_a_result_at_once_end_in_the_result(store: Store) {
    let (server, by) = (store.enrol(1, "web").await, user(&store, 1).await);
    store.warm().await;
    for number in 1..=8 {
        let order = make(&store, number, server, &by).await.id;
        let told = outcome(order, server, "done");
        let told = [&told];
        let (cancelled, taken, _) = tokio::join!(
            store.registry.cancel_order(order, &by, NOW),
            store.registry.end_orders(&told, NOW),
            store.registry.expire_orders(ENDS),
        );
        assert!(matches!(cancelled.unwrap(), Ok(_) | Err(Refusal::Changed)));
        assert_eq!(taken.unwrap().counted, 1, "{number}");
        assert_eq!(state(&store, order).await, OrderState::Done, "{number}");
    }
}

pub async fn others_approve_an_order_where_the_label_asks_for_it_and_never_who_asked(store: Store) {
    let server = store.enrol(1, "web").await;
    let (asks, second, third) = (user(&store, 1).await, user(&store, 2).await, user(&store, 3).await);
    asks_for(&store, server, "2").await;
    let (registry, ours) = (&store.registry, signature("management"));
    let made = make(&store, 1, server, &asks).await;
    assert_eq!((made.state, made.approvals_needed, made.signed_at), (OrderState::Awaiting, 2, None));
    assert_eq!(made.envelope.signatures, [], "what nobody approved is not signed");
    let approve = async |given: Option<&Signature>, by: &Actor, now| {
        registry.approve_order(made.id, given, &ours, Scope::UnitControl, by, now).await.unwrap()
    };
    assert_eq!(approve(None, &asks, NOW).await, Err(Refusal::OwnOrder));
    assert_eq!(approve(None, &Actor::system(), NOW).await, Err(Refusal::NotFound));
    let offline = signature("offline");
    store.execute("DELETE FROM role_scopes WHERE scope = 'unit:control'").await;
    assert_eq!(approve(None, &second, NOW).await, Err(Refusal::Changed), "who asked may not any more");
    store.execute("INSERT INTO role_scopes (role_id, scope) VALUES ('admin', 'unit:control')").await;
    let once = approve(Some(&offline), &second, NOW).await.unwrap();
    assert_eq!((once.state, once.approvals.len()), (OrderState::Awaiting, 1));
    assert_eq!(approve(None, &second, NOW).await.unwrap(), once, "nobody approves twice");
    assert_eq!(registry.pending_orders(NOW).await.unwrap(), []);
    assert_eq!(approve(None, &third, ENDS).await, Err(Refusal::Changed), "its time is over");
    let whole = approve(Some(&offline), &third, NOW + 7).await.unwrap();
    assert_eq!((whole.state, whole.signed_at), (OrderState::Pending, Some(NOW + 7)));
    assert_eq!(whole.envelope.signatures, [ours.clone(), offline]);
    let late = user(&store, 4).await;
    assert_eq!(approve(None, &late, NOW).await, Err(Refusal::Changed));
    let none =
        registry.approve_order(order_id(9), None, &ours, Scope::UnitControl, &second, NOW).await.unwrap();
    assert_eq!(none, Err(Refusal::NotFound));
    assert_eq!(order_actions(&store).await, ["order.create", "order.approve", "order.approve"]);
}

pub async fn approvals_at_once_are_as_many_and_sign_once(store: Store) {
    let server = store.enrol(1, "web").await;
    let asks = user(&store, 1).await;
    asks_for(&store, server, "2").await;
    let others = [user(&store, 2).await, user(&store, 3).await, user(&store, 4).await];
    let made = make(&store, 1, server, &asks).await;
    store.warm().await;
    let ours = signature("management");
    let approve = |by| store.registry.approve_order(made.id, None, &ours, Scope::UnitControl, by, NOW);
    let (one, two, three) = tokio::join!(approve(&others[0]), approve(&others[1]), approve(&others[2]));
    let answers = [one.unwrap(), two.unwrap(), three.unwrap()];
    assert_eq!(answers.iter().filter(|answer| **answer == Err(Refusal::Changed)).count(), 1, "{answers:?}");
    let after = store.registry.order(made.id).await.unwrap().unwrap();
    assert_eq!((after.state, after.approvals.len()), (OrderState::Pending, 2));
    assert_eq!(after.envelope.signatures, [ours]);
}

pub async fn a_user_makes_ten_orders_a_minute_and_a_server_has_sixteen_open(store: Store) {
    let (web, by, other) = (store.enrol(1, "web").await, user(&store, 1).await, user(&store, 2).await);
    for number in 1..=10 {
        make(&store, number, web, &by).await;
    }
    let made = async |number, by: &Actor, now| {
        store.registry.make_order(&new_order(number, web), by, now).await.unwrap().map(|made| made.state)
    };
    assert_eq!(made(11, &by, NOW + MINUTE - 1).await, Err(Refusal::TooOften));
    assert_eq!(made(11, &by, NOW + MINUTE).await, Ok(OrderState::Pending));
    for number in 12..=16 {
        assert_eq!(made(number, &other, NOW).await, Ok(OrderState::Pending));
    }
    assert_eq!(made(17, &other, NOW).await, Err(Refusal::TooMany));
    store.registry.cancel_order(order_id(3), &by, NOW).await.unwrap().unwrap();
    assert_eq!(made(17, &other, NOW).await, Ok(OrderState::Pending));
    let nowhere = store.registry.make_order(&new_order(18, server_id(7)), &other, NOW).await.unwrap();
    assert_eq!(nowhere, Err(Refusal::NotFound));
    let by_nobody = store.registry.make_order(&new_order(18, web), &Actor::system(), NOW).await.unwrap();
    assert_eq!(by_nobody, Err(Refusal::NotFound));
}

pub async fn orders_are_narrowed_counted_and_forgotten_once_they_are_old(store: Store) {
    let (web, db, by) = (store.enrol(1, "web").await, store.enrol(2, "db").await, user(&store, 1).await);
    asks_for(&store, db, "yes").await;
    let (first, second) = (make(&store, 1, web, &by).await, make(&store, 2, db, &by).await);
    let registry = &store.registry;
    let listed = async |filter: OrderFilter| {
        let (orders, total) = registry.orders(&filter, ALL).await.unwrap();
        assert_eq!(orders.len() as u64, total);
        orders.into_iter().map(|order| order.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(OrderFilter::default()).await, [first.id, second.id]);
    assert_eq!(listed(OrderFilter { server: Some(web), state: None }).await, [first.id]);
    let awaiting = OrderFilter { state: Some(OrderState::Awaiting), server: None };
    assert_eq!(listed(awaiting).await, [second.id]);
    let counts = registry.order_counts().await.unwrap();
    assert_eq!((counts.awaiting, counts.pending), (1, 1));
    registry.cancel_order(second.id, &by, NOW).await.unwrap().unwrap();
    let old = NOW + 91 * 86_400_000;
    assert!(registry.forget_orders(old).await.unwrap());
    assert!(!registry.forget_orders(old).await.unwrap());
    assert_eq!(listed(OrderFilter::default()).await, [first.id], "what is open is remembered");
    registry.delete_server(web, None, &by, NOW).await.unwrap().unwrap();
    assert_eq!(registry.pending_orders(NOW).await.unwrap(), [], "its server is gone");
}

pub async fn only_who_may_changes_how_many_approve(store: Store) {
    let server = store.enrol(1, "web").await;
    let labels = |approvals: Option<&str>| -> BTreeMap<String, String> {
        let approvals = approvals.map(|value| ("approvals".to_owned(), value.to_owned()));
        approvals.into_iter().chain([("site".to_owned(), "eu".to_owned())]).collect()
    };
    let change = async |approvals: Option<&str>, may_change_approvals| {
        let change = ProfileChange {
            labels: Some(labels(approvals)),
            may_change_approvals,
            ..ProfileChange::default()
        };
        store.registry.change_server(server, None, &change, &Actor::system(), NOW).await.unwrap()
    };
    let beyond = Err(Refusal::Beyond(Scope::OrderApprove));
    assert_eq!(change(Some("1"), false).await, beyond);
    assert_eq!(change(Some("1"), true).await, Ok(()));
    for other in [None, Some("0"), Some("2")] {
        assert_eq!(change(other, false).await, beyond, "{other:?}");
    }
    let change_in_a_sheet = ProfileChange { labels: Some(labels(None)), ..ProfileChange::default() };
    let row = ImportRow { number: 2, id: Some(server), new_id: server_id(9), change: change_in_a_sheet };
    let outcomes = store.registry.import(&[row], true, &Actor::system(), NOW).await.unwrap();
    assert_eq!(outcomes, [ImportOutcome::Wrong(ImportFault::Approvals)]);
    assert_eq!(store.server(server).await.labels, labels(Some("1")));
    assert_eq!(change(None, true).await, Ok(()));
}
