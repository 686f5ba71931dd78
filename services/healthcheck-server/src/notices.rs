//! What this gate tells single servers, as the cache has it, and who waits to be told.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use cache::{Cache, Noticed};
use fleet::{
    Millis, ServerId,
    messages::{DueOrder, Notice},
    wire::{bounds::MAX_ORDERS, v1::SignedOrder},
};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// Polls of one server that are held: an agent has one, and another for a moment after it was cut off.
const HELD_OF_ONE: u8 = 2;

/// What to tell, and who waits.
pub struct Notices {
    held: RwLock<Held>,
    /// Counts the changes, so that who waits looks again.
    changes: watch::Sender<u64>,
    places: Semaphore,
    waiting: Mutex<HashMap<ServerId, u8>>,
}

/// As the cache told it last.
#[derive(Default)]
struct Held {
    version: Option<i64>,
    orders: HashMap<ServerId, Arc<[DueOrder]>>,
}

/// The right to wait, until it is dropped.
pub struct Place<'a> {
    notices: &'a Notices,
    server: ServerId,
    _permit: SemaphorePermit<'a>,
}

impl Notices {
    /// At most so many wait at once.
    pub fn new(places: usize) -> Self {
        Self {
            held: RwLock::default(),
            changes: watch::Sender::new(0),
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            waiting: Mutex::default(),
        }
    }

    /// Asks the cache what changed; for all, if `anew`. Without an answer what was there stays.
    pub async fn read(&self, cache: &Cache, anew: bool) {
        let since =
            if anew { None } else { self.held.read().unwrap_or_else(PoisonError::into_inner).version };
        if let Ok(noticed) = cache.notices(since).await {
            self.take(noticed);
        }
    }

    fn take(&self, noticed: Noticed) {
        let Noticed { version, whole, notices } = noticed;
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.version = Some(version);
        if whole {
            held.orders.clear();
        }
        let changed = whole || !notices.is_empty();
        for (server, notice) in notices {
            // What is garbled is not there: nobody but management writes it, and it writes it again.
            let notice = notice.and_then(|text| serde_json::from_str::<Notice>(&text).ok());
            match notice.filter(|notice| !notice.orders.is_empty()) {
                Some(notice) => drop(held.orders.insert(server, notice.orders.into())),
                None => drop(held.orders.remove(&server)),
            }
        }
        drop(held);
        if changed {
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// The orders of a server that are to be handed out, the oldest first.
    pub fn orders(&self, server: ServerId, now: Millis) -> Vec<SignedOrder> {
        self.due(server, now).map(|due| due.order).collect()
    }

    /// Whether there is one among them that is not one of these.
    pub fn has_other(&self, server: ServerId, have: &[&str], now: Millis) -> bool {
        self.due(server, now).any(|due| !have.contains(&due.id.to_string().as_str()))
    }

    fn due(&self, server: ServerId, now: Millis) -> impl Iterator<Item = DueOrder> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let orders = held.orders.get(&server).cloned();
        let orders = orders.into_iter().flat_map(|orders| orders.to_vec());
        orders.filter(move |due| due.not_after > now).take(MAX_ORDERS)
    }

    /// Tells of changes from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A place to wait, unless all are taken, or this server has enough of them.
    pub fn place(&self, server: ServerId) -> Option<Place<'_>> {
        let permit = self.places.try_acquire().ok()?;
        let mut waiting = self.waiting();
        let count = waiting.entry(server).or_default();
        if *count >= HELD_OF_ONE {
            return None;
        }
        *count += 1;
        drop(waiting);
        Some(Place { notices: self, server, _permit: permit })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<ServerId, u8>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.notices.waiting().entry(self.server) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u8) -> ServerId {
        ServerId::from_bytes([number; 16])
    }

    #[test]
    fn places_are_bounded_and_two_of_one_server() {
        let notices = Notices::new(3);
        let first = notices.place(server(1)).unwrap();
        let _second = notices.place(server(1)).unwrap();
        assert!(notices.place(server(1)).is_none());
        let _third = notices.place(server(2)).unwrap();
        assert!(notices.place(server(3)).is_none());
        drop(first);
        let again = notices.place(server(1)).unwrap();
        drop(again);
        drop(notices.place(server(3)).unwrap());
        assert_eq!(notices.waiting().len(), 2, "who does not wait takes no memory");
    }
}
