//! What was measured last of every server, as a table that each process makes of the cache when somebody asks and the one
//! before is 5 s old: what a list sorts and filters by that the registry does not know.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use chassis::Problem;
use fleet::{Millis, ServerId, wire::v1};
use registry::{Entry, Page, Roll, Server, ServerFilter, Sort, SortKey};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::{
    app::App,
    http::failure::{Failure, too_many_servers},
    servers::{
        listing::{Above, Figure, Order},
        uptime,
    },
};

/// For how long a table or a picture serves, in ms.
pub(super) const FRESH: Millis = 5_000;
/// For how long uptimes serve, in ms.
const FRESH_UPTIME: Millis = 60_000;
/// Most servers of which there is a table.
pub(super) const MOST: u32 = 50_000;
/// Servers that the cache is asked for at once.
const AT_ONCE: usize = 1_000;

/// What was measured last, in whole percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) cpu: Option<u8>,
    pub(super) memory: Option<u8>,
    pub(super) disk: Option<u8>,
}

/// What was measured last of each server that the cache knows.
type Table = Arc<HashMap<ServerId, Shares>>;

/// The uptime of the last 24 h of each server of which something was expected.
type Uptimes = Arc<HashMap<ServerId, f64>>;

/// The tables of this process, once somebody has asked.
#[derive(Default)]
pub(crate) struct Figures {
    shares: Mutex<Option<(Millis, Table)>>,
    uptimes: Mutex<Option<(Millis, Uptimes)>>,
}

/// A server that an order with figures has a place for.
struct Placed {
    entry: Entry,
    shares: Shares,
    uptime: Option<f64>,
}

impl Figures {
    /// What was measured last of each server that the cache knows. Without the cache it is nothing.
    pub(super) async fn shares(&self, app: &App, roll: &Roll) -> Result<Table, Failure> {
        let mut held = self.shares.lock().await;
        let now = app.clock.now();
        if let Some((_, shares)) = held.as_ref().filter(|(at, _)| now.saturating_sub(*at) < FRESH) {
            return Ok(Arc::clone(shares));
        }
        let all = bounded(app.registry.roster(&ServerFilter::default(), None, MOST + 1, roll).await?)?;
        let ids: Vec<ServerId> = all.into_iter().map(|entry| entry.id).collect();
        let mut shares = HashMap::with_capacity(ids.len());
        for part in ids.chunks(AT_ONCE) {
            let latest = app.cache_trouble.watch(app.cache.latest(part).await).unwrap_or_default();
            shares.extend(latest.into_iter().map(|(id, latest)| (id, Shares::read(&latest.snapshot))));
        }
        let shares = Arc::new(shares);
        *held = Some((now, Arc::clone(&shares)));
        Ok(shares)
    }

    /// The uptime of the last 24 h of every server, at most a minute old: it costs a look at the history of all of them.
    async fn uptimes(&self, app: &App, roll: &Roll) -> Result<Uptimes, Failure> {
        let mut held = self.uptimes.lock().await;
        let now = app.clock.now();
        if let Some((_, uptimes)) = held.as_ref().filter(|(at, _)| now.saturating_sub(*at) < FRESH_UPTIME) {
            return Ok(Arc::clone(uptimes));
        }
        let uptimes = Arc::new(uptime::of_all(app, now, roll).await?);
        *held = Some((now, Arc::clone(&uptimes)));
        Ok(uptimes)
    }

    /// Those that the filter lets through and that are above each of these bounds.
    async fn entries(
        &self,
        app: &App,
        filter: &ServerFilter,
        above: &[Above],
        roll: &Roll,
    ) -> Result<Vec<(Entry, Shares)>, Failure> {
        let shares = self.shares(app, roll).await?;
        let entries = bounded(app.registry.roster(filter, None, MOST + 1, roll).await?)?;
        let of = |id: &ServerId| shares.get(id).copied().unwrap_or_default();
        let found = entries.into_iter().map(|entry| (of(&entry.id), entry)).filter(|(shares, _)| {
            above.iter().all(|Above(figure, bound)| shares.of(*figure).is_some_and(|share| share > *bound))
        });
        Ok(found.map(|(shares, entry)| (entry, shares)).collect())
    }

    /// The filter with those alone that are above each of these bounds now.
    pub(crate) async fn narrowed(
        &self,
        app: &App,
        filter: ServerFilter,
        above: &[Above],
        roll: &Roll,
    ) -> Result<ServerFilter, Failure> {
        if above.is_empty() {
            return Ok(filter);
        }
        let entries = self.entries(app, &filter, above, roll).await?;
        Ok(ServerFilter { ids: Some(entries.into_iter().map(|(entry, _)| entry.id).collect()), ..filter })
    }

    /// A page of the servers that the filter lets through and that are above each of these bounds, in an order that has
    /// figures in it; and how many there are.
    pub(crate) async fn page(
        &self,
        app: &App,
        filter: &ServerFilter,
        above: &[Above],
        order: &[Order],
        page: Page,
        roll: &Roll,
    ) -> Result<(Vec<Server>, u64), Failure> {
        let by_uptime = order.iter().any(|key| matches!(key, Order::Uptime { .. }));
        let uptimes = if by_uptime { self.uptimes(app, roll).await? } else { Uptimes::default() };
        let entries = self.entries(app, filter, above, roll).await?;
        let mut found: Vec<Placed> = entries
            .into_iter()
            .map(|(entry, shares)| Placed { uptime: uptimes.get(&entry.id).copied(), entry, shares })
            .collect();
        found.sort_by(|one, other| compare(order, one, other));
        let size = page.page_size as usize;
        let from = (page.page as usize - 1).saturating_mul(size).min(found.len());
        let ids: Vec<ServerId> =
            found[from..found.len().min(from + size)].iter().map(|placed| placed.entry.id).collect();
        let only = ServerFilter { ids: Some(ids.clone()), ..ServerFilter::default() };
        let first = Page { page: 1, page_size: page.page_size };
        let (servers, _) = app.registry.servers(&only, &[], first, roll).await?;
        let mut by_id: HashMap<ServerId, Server> =
            servers.into_iter().map(|server| (server.id, server)).collect();
        let servers = ids.iter().filter_map(|id| by_id.remove(id)).collect();
        Ok((servers, found.len() as u64))
    }
}

/// What is not known comes last in either direction.
fn compare(order: &[Order], one: &Placed, other: &Placed) -> Ordering {
    let key = |order: &Order| match order {
        Order::Figure { figure, descending } => {
            known_first(one.shares.of(*figure), other.shares.of(*figure), *descending, Ord::cmp)
        }
        Order::Uptime { descending } => known_first(one.uptime, other.uptime, *descending, f64::total_cmp),
        Order::Known(Sort { key, descending }) => {
            let order = match key {
                SortKey::Status => one.entry.status.as_str().cmp(other.entry.status.as_str()),
                SortKey::CreatedAt
                | SortKey::Address
                | SortKey::LastSeenAt
                | SortKey::UpdatedAt
                | SortKey::Name => one.entry.name.to_lowercase().cmp(&other.entry.name.to_lowercase()),
            };
            if *descending { order.reverse() } else { order }
        }
    };
    let first = order.iter().map(key).find(|order| order.is_ne());
    first.unwrap_or_else(|| one.entry.id.cmp(&other.entry.id))
}

fn known_first<T>(
    one: Option<T>,
    other: Option<T>,
    descending: bool,
    compare: fn(&T, &T) -> Ordering,
) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) if descending => compare(&other, &one),
        (Some(one), Some(other)) => compare(&one, &other),
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}

/// The servers, unless there are too many.
pub(super) fn bounded(entries: Vec<Entry>) -> Result<Vec<Entry>, Problem> {
    if entries.len() > MOST as usize { Err(too_many_servers(MOST)) } else { Ok(entries) }
}

impl Shares {
    fn of(self, figure: Figure) -> Option<u8> {
        match figure {
            Figure::Cpu => self.cpu,
            Figure::Memory => self.memory,
            Figure::Disk => self.disk,
        }
    }

    /// Of a snapshot.
    pub(super) fn of_snapshot(snapshot: &v1::Snapshot) -> Self {
        let used = |total: Option<u64>, used: Option<u64>| {
            let (total, used) = total.filter(|total| *total > 0).zip(used)?;
            Some(percent(100.0 * used as f64 / total as f64))
        };
        Self {
            cpu: snapshot.cpu.as_ref().and_then(|cpu| cpu.total).map(|total| percent(f64::from(total))),
            memory: snapshot.memory.as_ref().and_then(|memory| used(memory.total, memory.used)),
            disk: snapshot.disks.iter().filter_map(|disk| used(disk.total, disk.used)).max(),
        }
    }

    /// Of a snapshot as JSON; one that cannot be read tells nothing.
    fn read(snapshot: &str) -> Self {
        #[derive(Deserialize)]
        struct Part {
            total: Option<f64>,
            used: Option<f64>,
        }
        #[derive(Deserialize)]
        struct Whole {
            cpu: Option<Part>,
            memory: Option<Part>,
            #[serde(default)]
            disks: Vec<Part>,
        }
        let used = |part: &Part| {
            let (total, used) = part.total.filter(|total| *total > 0.0).zip(part.used)?;
            Some(percent(100.0 * used / total))
        };
        let Ok(Whole { cpu, memory, disks }) = serde_json::from_str(snapshot) else { return Self::default() };
        Self {
            cpu: cpu.and_then(|cpu| cpu.total).map(percent),
            memory: memory.as_ref().and_then(used),
            disk: disks.iter().filter_map(used).max(),
        }
    }
}

fn percent(share: f64) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 100")]
    let whole = share.clamp(0.0, 100.0).round() as u8;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_of_a_snapshot_and_of_nothing_else() {
        let text = r#"{"sampled_at":1,"cpu":{"total":12.6,"cores":[1]},"memory":{"total":4,"used":1},
            "disks":[{"mount":"/","total":10,"used":9},{"total":0,"used":0},{"mount":"/x"}]}"#;
        assert_eq!(Shares::read(text), Shares { cpu: Some(13), memory: Some(25), disk: Some(90) });
        assert_eq!(Shares::read("{}"), Shares::default());
        assert_eq!(Shares::read("garbage"), Shares::default());
    }
}
