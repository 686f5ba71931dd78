//! How orders get to the gates: by notices in the cache, one at once and all of them again and again.

use std::collections::BTreeMap;

use chassis::Trouble;
use fleet::{
    Millis, ServerId,
    messages::{DueOrder, Notice},
};
use metrics::{Unit, describe_gauge, gauge};
use registry::{OrderFilter, OrderState, Page, RegistryError, StoredOrder};
use tokio::time::{Duration, MissedTickBehavior, interval};

use crate::app::App;

/// How often orders are looked at whose time is over, and all notices are written: every so many times.
const EVERY: Duration = Duration::from_secs(1);
const ALL_EVERY: u32 = 5;
const FORGET_EVERY: u32 = 3_600;

/// As many as a bulletin has, and as many as a server may have open.
const OF_ONE: u32 = 16;

const ORDERS: &str = "rollcall_orders";

/// Describes what `/metrics` tells of orders.
pub(crate) fn describe() {
    describe_gauge!(ORDERS, Unit::Count, "Orders that are open, by state");
}

/// What has to be done about orders without being asked, until it is dropped.
pub(crate) async fn run(app: &App) {
    let registry = Trouble::new("keeping orders");
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0_u32.. {
        due.tick().await;
        registry.watch(turn_of(app, turn).await);
    }
}

/// Ends what is over, and tells gates of all that stands.
pub(crate) async fn keep(app: &App) -> Result<(), RegistryError> {
    turn_of(app, ALL_EVERY).await
}

async fn turn_of(app: &App, turn: u32) -> Result<(), RegistryError> {
    let now = app.clock.now();
    app.registry.expire_orders(now).await?;
    if turn.is_multiple_of(ALL_EVERY) {
        tell_all(app, now).await?;
        let counts = app.registry.order_counts().await?;
        gauge!(ORDERS, "state" => "awaiting").set(counts.awaiting as f64);
        gauge!(ORDERS, "state" => "pending").set(counts.pending as f64);
    }
    if turn.is_multiple_of(FORGET_EVERY) {
        while app.registry.forget_orders(now).await? {}
    }
    Ok(())
}

/// Has gates tell a server what stands for it now. A cache that is away gets it later.
pub(super) async fn tell(app: &App, server: ServerId) -> Result<(), RegistryError> {
    let filter = OrderFilter { server: Some(server), state: Some(OrderState::Pending) };
    let (orders, _) = app.registry.orders(&filter, Page { page: 1, page_size: OF_ONE }).await?;
    let mut notice = Notice::default();
    for order in orders.into_iter().rev().filter(|order| order.not_after > app.clock.now()) {
        notice.orders.push(due(order));
    }
    let text = write(&notice);
    app.cache_trouble.watch(app.cache.put_notice(server, text.as_deref()).await);
    Ok(())
}

async fn tell_all(app: &App, now: Millis) -> Result<(), RegistryError> {
    let mut notices: BTreeMap<ServerId, Notice> = BTreeMap::new();
    for order in app.registry.pending_orders(now).await? {
        notices.entry(order.server).or_default().orders.push(due(order));
    }
    let written = notices.into_iter().filter_map(|(server, notice)| Some((server, write(&notice)?)));
    app.cache_trouble.watch(app.cache.put_notices(&written.collect()).await);
    Ok(())
}

fn due(order: StoredOrder) -> DueOrder {
    DueOrder { id: order.id, not_after: order.not_after, order: order.envelope }
}

/// `None`: there is nothing to tell.
fn write(notice: &Notice) -> Option<String> {
    if notice.orders.is_empty() { None } else { serde_json::to_string(notice).ok() }
}
