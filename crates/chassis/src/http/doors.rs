//! How many connections a server holds at once, and how many bytes for them.
//!
//! Whoever comes when all places are taken, or sends when all memory is taken, is not refused: whoever has kept us waiting
//! longest makes room. So somebody who opens many connections, or sends bodies that never end, only hurts themselves.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicIsize, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use clap::Args;
use futures_util::task::AtomicWaker;
use metrics::{Gauge, Unit, counter, describe_counter, describe_gauge, gauge};
use rustix::process::{Resource, getrlimit};

/// Who makes room makes a little more than is needed, so that not each newcomer has to search for one: one part of so many.
const SPARE: usize = 64;

/// So many newcomers may be ahead of those who make room for them: a server takes them in batches.
const AHEAD: usize = 256;

/// The log tells of the doors at most so often.
const TELL_EVERY: Duration = Duration::from_secs(60);

const TURNED_AWAY: &str = "rollcall_http_turned_away_total";

/// Flags that every server has.
#[derive(Debug, Clone, Copy, Args)]
pub struct DoorArguments {
    /// Connections at once; for another one, whoever has waited longest for their own client makes room
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 5_000, value_parser = at_least_one, value_name = "N")]
    max_connections: usize,
    /// Connections at once of one client address (IPv6: of one /64) where TRUSTED_PROXIES is 0; the next is answered 503
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 4_000, value_parser = at_least_one, value_name = "N")]
    max_connections_per_address: usize,
    /// MiB that all requests under way and all answers that nobody has read yet may take together
    #[arg(long, env = "MAX_REQUEST_MEMORY_MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..), value_name = "MIB")]
    max_request_memory_mib: u16,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a whole number from 1".to_owned())
}

/// What a server holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections.
    pub connections: usize,
    /// Connections of one client address; `None` where all of them come from a proxy.
    pub per_address: Option<usize>,
    /// Bytes that were read and not answered, and that were written and not read.
    pub bytes: usize,
}

impl DoorArguments {
    /// The bounds of a server behind so many `proxies`. Connections have files, so there are no more than three quarters of
    /// those that this process may open.
    pub fn bounds(&self, proxies: u8) -> Bounds {
        let files = getrlimit(Resource::Nofile).maximum.and_then(|files| usize::try_from(files).ok());
        let places = files.map_or(usize::MAX, |files| files - files / 4);
        Bounds {
            connections: self.max_connections.min(places),
            per_address: (proxies == 0).then_some(self.max_connections_per_address),
            bytes: usize::from(self.max_request_memory_mib) * 1024 * 1024,
        }
    }
}

/// The doors of one server. Clones share them.
#[derive(Clone)]
pub(super) struct Doors(Arc<Shared>);

struct Shared {
    bounds: Bounds,
    /// Of all connections together. Signed: two threads may take off before the third has put on.
    held: AtomicIsize,
    /// How many were told to make room and have yet to go.
    leaving: AtomicUsize,
    inside: Mutex<Inside>,
    opened: Instant,
    told_at: AtomicU64,
    instruments: Instruments,
}

#[derive(Default)]
struct Inside {
    last: u64,
    connections: HashMap<u64, Arc<Connection>>,
    addresses: HashMap<IpAddr, usize>,
}

struct Instruments {
    connections: Gauge,
    held: Gauge,
}

/// Who is inside, until it is dropped.
pub(super) struct Pass {
    pub connection: Arc<Connection>,
    number: u64,
    address: Option<IpAddr>,
}

/// What the doors, the stream and the request under way know of one connection.
pub(super) struct Connection {
    doors: Doors,
    pub waker: AtomicWaker,
    /// Milliseconds from the doors' opening to when its last answer was complete.
    since: AtomicU64,
    held: AtomicIsize,
    /// It has to make room.
    told: AtomicBool,
    /// A [`Work`] as a number.
    work: AtomicU8,
    /// Bytes of the body that are still to come; `u64::MAX`, if only its end will tell.
    pub body_left: AtomicU64,
    /// Bytes of the body that came with the head.
    pub body_ahead: AtomicU64,
    /// Bytes that were read since the last answer.
    pub read: AtomicIsize,
    /// An answer waits for the client to read it.
    pub stalled: AtomicBool,
    /// Its task waits for a change here and not for the socket.
    pub asleep: AtomicBool,
}

/// What goes on with the request of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// There is none yet.
    None,
    /// Its handler is at work.
    Handling,
    /// Its handler waits for more of the body.
    WantsBody,
}

impl Doors {
    pub fn new(bounds: Bounds) -> Self {
        describe_counter!(
            TURNED_AWAY,
            "Connections that were refused or cut off, by the bound that they met"
        );
        describe_gauge!("rollcall_http_connections", Unit::Count, "Open connections");
        describe_gauge!(
            "rollcall_http_request_bytes",
            Unit::Bytes,
            "Memory of requests that are not answered, beyond 4 KiB of each, and of answers that are not read"
        );
        // Whoever asks for a rate has to see the first one.
        for bound in ["address", "connections", "memory"] {
            counter!(TURNED_AWAY, "bound" => bound).increment(0);
        }
        let instruments = Instruments {
            connections: gauge!("rollcall_http_connections"),
            held: gauge!("rollcall_http_request_bytes"),
        };
        Self(Arc::new(Shared {
            bounds,
            held: AtomicIsize::new(0),
            leaving: AtomicUsize::new(0),
            inside: Mutex::default(),
            opened: Instant::now(),
            told_at: AtomicU64::new(0),
            instruments,
        }))
    }

    /// Lets a client in, or says that it has no place.
    pub fn enter(&self, peer: Option<IpAddr>) -> Option<Pass> {
        let Bounds { connections, per_address, bytes: _ } = self.0.bounds;
        let address = peer.filter(|_| per_address.is_some()).map(network);
        let mut inside = self.inside();
        if let (Some(most), Some(address)) = (per_address, address) {
            let others = inside.addresses.entry(address).or_default();
            if *others >= most {
                drop(inside);
                self.turned_away("address");
                return None;
            }
            *others += 1;
        }
        let over = (inside.connections.len() + 1).saturating_sub(connections);
        let missing = over.saturating_sub(self.0.leaving.load(Relaxed));
        if missing > 0 {
            inside.make_room(missing + connections / SPARE, |_| 1);
        }
        inside.last += 1;
        let number = inside.last;
        let connection = Arc::new(Connection::new(self.clone()));
        inside.connections.insert(number, Arc::clone(&connection));
        self.0.instruments.connections.set(inside.connections.len() as f64);
        drop(inside);
        let pass = Pass { connection, number, address };
        if over == 0 {
            return Some(pass);
        }
        self.turned_away("connections");
        // Whoever was told leaves within moments; still, newcomers may be faster than that.
        let has_place = over <= self.0.leaving.load(Relaxed) && over <= AHEAD + connections / 8;
        has_place.then_some(pass)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn add(&self, bytes: isize) {
        let held = self.0.held.fetch_add(bytes, Relaxed) + bytes;
        self.0.instruments.held.set(held as f64);
        let over = held.saturating_sub_unsigned(self.0.bounds.bytes);
        if bytes <= 0 || over <= 0 {
            return;
        }
        let needed = over.unsigned_abs() + self.0.bounds.bytes / 8;
        let told = self.inside().make_room(needed, |connection| {
            // It counts as gone from here on, so that others need not go for it too.
            let held = connection.held.swap(0, Relaxed);
            self.0.held.fetch_sub(held, Relaxed);
            held.max(0).unsigned_abs()
        });
        if told > 0 {
            self.turned_away("memory");
        }
    }

    /// Bytes of all connections together.
    #[cfg(test)]
    pub fn held(&self) -> isize {
        self.0.held.load(Relaxed)
    }

    fn turned_away(&self, bound: &'static str) {
        counter!(TURNED_AWAY, "bound" => bound).increment(1);
        let (now, every) = (self.millis(), u64::try_from(TELL_EVERY.as_millis()).unwrap_or(u64::MAX));
        let told_at = self.0.told_at.load(Relaxed);
        let due = told_at == 0 || now > told_at + every;
        if due && self.0.told_at.compare_exchange(told_at, now.max(1), Relaxed, Relaxed).is_ok() {
            tracing::warn!(bound, "the doors are full: some connections are refused or cut off");
        }
    }
}

impl Inside {
    /// Tells those who have waited for their own client longest to go, until what they give up, each what `gives` says, is
    /// as much as is `needed`. Returns how many.
    fn make_room(&self, needed: usize, gives: impl Fn(&Connection) -> usize) -> usize {
        let waiting = self.connections.iter().filter(|(_, connection)| connection.may_be_told());
        let mut waiting: Vec<_> =
            waiting.map(|(number, one)| (one.since.load(Relaxed), number, one)).collect();
        waiting.sort_unstable_by_key(|(since, number, _)| (*since, *number));
        let (mut given, mut told) = (0, 0);
        for (_, _, connection) in waiting {
            if given >= needed {
                break;
            }
            let gives = gives(connection);
            if gives > 0 {
                given += gives;
                told += 1;
                connection.tell();
            }
        }
        told
    }
}

impl Connection {
    fn new(doors: Doors) -> Self {
        let since = AtomicU64::new(doors.millis());
        Self {
            doors,
            waker: AtomicWaker::new(),
            since,
            held: AtomicIsize::new(0),
            told: AtomicBool::new(false),
            work: AtomicU8::new(Work::None as u8),
            body_left: AtomicU64::new(0),
            body_ahead: AtomicU64::new(0),
            read: AtomicIsize::new(0),
            stalled: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
        }
    }

    /// A handler begins with a request whose body has so many bytes.
    pub fn begin(&self, body: u64) {
        self.body_left.store(body.saturating_sub(self.body_ahead.swap(0, Relaxed)), Relaxed);
        self.set(Work::Handling);
    }

    /// Its handler, or whoever reads the body for it, waits for more.
    pub fn want_body(&self) {
        self.set(Work::WantsBody);
        self.rouse();
    }

    /// The answer is complete, as far as the handler is concerned.
    pub fn end(&self) {
        self.set(Work::None);
        self.since.store(self.doors.millis(), Relaxed);
        self.read.store(0, Relaxed);
        self.hold(0);
        // It was asked to make room, and did.
        self.left();
    }

    /// Tells it to make room.
    pub fn tell(&self) {
        if !self.told.swap(true, Relaxed) {
            self.doors.0.leaving.fetch_add(1, Relaxed);
        }
        self.waker.wake();
    }

    fn left(&self) {
        if self.told.swap(false, Relaxed) {
            self.doors.0.leaving.fetch_sub(1, Relaxed);
        }
    }

    pub fn work(&self) -> Work {
        match self.work.load(Relaxed) {
            work if work == Work::Handling as u8 => Work::Handling,
            work if work == Work::WantsBody as u8 => Work::WantsBody,
            _ => Work::None,
        }
    }

    pub fn set(&self, work: Work) {
        self.work.store(work as u8, Relaxed);
    }

    pub fn told(&self) -> bool {
        self.told.load(Relaxed)
    }

    /// Has its task look again, if it waits for a change here.
    pub fn rouse(&self) {
        if self.asleep.swap(false, Relaxed) {
            self.waker.wake();
        }
    }

    /// From now on it takes so many bytes of memory.
    pub fn hold(&self, bytes: isize) {
        let before = self.held.swap(bytes, Relaxed);
        if before != bytes {
            self.doors.add(bytes - before);
        }
    }

    /// Whether it is the client that everything waits for.
    fn may_be_told(&self) -> bool {
        !self.told() && (self.work() != Work::Handling || self.stalled.load(Relaxed))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.connection.hold(0);
        self.connection.left();
        let doors = self.connection.doors.clone();
        let mut inside = doors.inside();
        inside.connections.remove(&self.number);
        doors.0.instruments.connections.set(inside.connections.len() as f64);
        let Some(address) = self.address else { return };
        let others = inside.addresses.get_mut(&address).map_or(0, |others| {
            *others -= 1;
            *others
        });
        if others == 0 {
            inside.addresses.remove(&address);
        }
    }
}

/// Whose connections and failures are counted together: of IPv6 a /64, which is one household or host.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { connections: 10, per_address: Some(4), bytes: 1_000 };

    fn enter(doors: &Doors, address: &str) -> Option<Pass> {
        doors.enter(address.parse().ok())
    }

    /// Ten from ten addresses, the first of which has waited longest.
    fn full(doors: &Doors) -> Vec<Pass> {
        let passes: Vec<_> = (0..10).filter_map(|n| enter(doors, &format!("10.0.0.{n}"))).collect();
        for (since, pass) in passes.iter().enumerate() {
            pass.connection.since.store(since as u64, Relaxed);
        }
        passes
    }

    fn told(passes: &[Pass]) -> Vec<usize> {
        passes.iter().enumerate().filter(|(_, pass)| pass.connection.told()).map(|(n, _)| n).collect()
    }

    #[test]
    fn an_address_has_its_share_and_another_is_not_hurt() {
        let doors = Doors::new(BOUNDS);
        let mut inside: Vec<_> = (0..4).filter_map(|_| enter(&doors, "10.0.0.1")).collect();
        assert_eq!(inside.len(), 4);
        assert!(enter(&doors, "10.0.0.1").is_none());
        assert!(enter(&doors, "::ffff:10.0.0.1").is_none());
        assert!(enter(&doors, "10.0.0.2").is_some());
        inside.pop();
        assert!(enter(&doors, "10.0.0.1").is_some());
        drop(inside);
        assert!(doors.inside().addresses.is_empty() && doors.inside().connections.is_empty());
    }

    #[test]
    fn a_whole_ipv6_network_is_one_address() {
        let doors = Doors::new(BOUNDS);
        let inside: Vec<_> = (0..9).filter_map(|n| enter(&doors, &format!("2001:db8::{n}"))).collect();
        assert_eq!(inside.len(), 4);
        assert!(enter(&doors, "2001:db8:0:1::1").is_some());
    }

    #[test]
    fn behind_a_proxy_all_come_from_one_address() {
        let doors = Doors::new(Bounds { per_address: None, ..BOUNDS });
        let inside: Vec<_> = (0..10).filter_map(|_| enter(&doors, "10.0.0.1")).collect();
        assert_eq!(inside.len(), 10);
    }

    #[test]
    fn whoever_has_waited_longest_makes_room_for_a_newcomer() {
        let doors = Doors::new(BOUNDS);
        let mut passes = full(&doors);
        // Whose request we have not answered does not wait for its client.
        passes[0].connection.begin(0);
        let newcomer = enter(&doors, "10.0.1.1").unwrap();
        newcomer.connection.since.store(10, Relaxed);
        assert_eq!(told(&passes), [1]);
        passes.remove(1);
        assert_eq!(doors.inside().connections.len(), 10);
        let another = enter(&doors, "10.0.1.1");
        assert!(another.is_some());
        assert_eq!(told(&passes), [1]);
    }

    #[test]
    fn a_newcomer_has_no_place_where_all_are_being_answered() {
        let doors = Doors::new(BOUNDS);
        let passes = full(&doors);
        for pass in &passes {
            pass.connection.begin(0);
        }
        assert!(enter(&doors, "10.0.1.1").is_none());
        assert!(told(&passes).is_empty());
        assert_eq!(doors.inside().connections.len(), 10);
    }

    #[test]
    fn whoever_has_waited_longest_gives_up_its_memory() {
        let doors = Doors::new(BOUNDS);
        let passes = full(&doors);
        for pass in &passes[1..] {
            pass.connection.hold(100);
        }
        // Still under the bound, so nobody goes.
        assert!(told(&passes).is_empty());
        passes[9].connection.hold(250);
        // The first has nothing to give.
        assert_eq!(told(&passes), [1, 2]);
        assert_eq!(doors.0.held.load(Relaxed), 850);
        drop(passes);
        assert_eq!(doors.0.held.load(Relaxed), 0);
    }

    #[test]
    fn a_request_that_is_being_answered_keeps_its_memory_unless_its_client_reads_nothing() {
        let doors = Doors::new(BOUNDS);
        let passes = full(&doors);
        for pass in &passes[..3] {
            pass.connection.begin(0);
            pass.connection.hold(300);
        }
        passes[1].connection.want_body();
        passes[2].connection.stalled.store(true, Relaxed);
        passes[9].connection.hold(500);
        assert_eq!(told(&passes), [1, 2]);
    }

    #[test]
    fn whoever_answered_instead_of_going_may_stay() {
        let doors = Doors::new(BOUNDS);
        let passes = full(&doors);
        passes[0].connection.begin(u64::MAX);
        passes[0].connection.hold(900);
        passes[0].connection.want_body();
        passes[1].connection.hold(200);
        assert_eq!(told(&passes), [0]);
        passes[0].connection.end();
        assert!(told(&passes).is_empty());
    }
}
