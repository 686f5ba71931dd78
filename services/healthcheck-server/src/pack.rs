//! Packs what requests bring within some milliseconds into one message, since a broker costs the same for a message of
//! any size. Each request is answered by the confirm of the message, or of all messages, that its records went into.
//!
//! How long a record waits follows the load: an agent does not mind 50 ms, and until there is enough company a message is
//! mostly the cost of a message. Under load there is enough within a few milliseconds.

use std::{io, sync::Arc, time::Duration};

use fleet::{Message, Record, wire::v1::Refusal};
use metrics::Gauge;
use queue::{PublishError, Publisher, rabbitmq::LARGEST};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};

use crate::instruments::PackInstruments;

/// How long a record waits for company at the most, and how long at least. The timer rounds up to whole milliseconds.
const LINGER: Duration = Duration::from_millis(50);
const LEAST: Duration = Duration::from_millis(2);
/// So many records are enough company: what a message costs the broker is a small part of what they cost elsewhere.
const ENOUGH: usize = 64;
/// Messages without a confirm. While there are so many, the ones behind them fill up.
const UNDER_WAY: usize = 8;
/// Bytes of memory that records may take here, those under way included. What comes beyond that is turned away at once.
const ROOM: usize = 32 * 1024 * 1024;
/// A request that waited for so long is answered as unavailable, whether its records are published or not.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a message without records.
const ENVELOPE: usize = r#"{"kind":"snapshots","version":1,"records":[]}"#.len();
/// Bytes that the records of one message may have, each with a comma behind it; the last one has none.
const FITS: usize = LARGEST - ENVELOPE + 1;

/// The way of records into packed messages.
pub struct Packer {
    parts: mpsc::UnboundedSender<Part>,
    room: Arc<Semaphore>,
    waiting: Gauge,
}

/// Why a request was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It was not confirmed; all, some or none of it may be in the queue.
    Unavailable,
    /// These fit no message even alone; nothing of the request was published.
    TooLarge(Vec<Refusal>),
}

/// As much of one request as fits one message.
struct Part {
    load: Load,
    arrived: Instant,
    /// Is told the number of the message that it was confirmed with. Dropped, it tells that the part was not confirmed.
    confirm: oneshot::Sender<u64>,
    _room: Arc<Room>,
}

/// Records of one message, and their bytes in it.
#[derive(Default)]
struct Load {
    records: Vec<Record>,
    size: usize,
}

/// What a request takes of [`ROOM`], until the last of its parts is settled.
struct Room {
    bytes: f64,
    waiting: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Packer {
    /// Packs for `publisher` in the background of the current runtime, until it is dropped.
    pub fn start(publisher: Publisher<Message>) -> Self {
        let (parts, arriving) = mpsc::unbounded_channel();
        let instruments = PackInstruments::new();
        let waiting = instruments.waiting.clone();
        tokio::spawn(pack(arriving, publisher, instruments));
        Self { parts, room: Arc::new(Semaphore::new(ROOM)), waiting }
    }

    /// Returns once every message with records of this request is confirmed. If nobody waits for it any more, what was not
    /// published yet is left out.
    pub async fn publish(&self, records: Vec<Record>) -> Result<(), NotTaken> {
        let room = self.room(&records).ok_or(NotTaken::Unavailable)?;
        let loads = split(records).map_err(NotTaken::TooLarge)?;
        let arrived = Instant::now();
        let mut confirms = Vec::with_capacity(loads.len());
        for load in loads {
            let (confirm, confirmed) = oneshot::channel();
            let part = Part { load, arrived, confirm, _room: Arc::clone(&room) };
            self.parts.send(part).map_err(|_| NotTaken::Unavailable)?;
            confirms.push(confirmed);
        }
        drop(room);
        let all = async {
            for confirmed in confirms {
                let number = confirmed.await?;
                tracing::debug!(queue_message = number, "in the queue");
            }
            Ok::<_, oneshot::error::RecvError>(())
        };
        timeout(PATIENCE, all).await.ok().and_then(Result::ok).ok_or(NotTaken::Unavailable)
    }

    fn room(&self, records: &[Record]) -> Option<Arc<Room>> {
        let bytes: usize = records.iter().map(|record| size_of::<Record>() + record.snapshot.weight()).sum();
        let permit = Arc::clone(&self.room).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()?;
        let bytes = bytes as f64;
        self.waiting.increment(bytes);
        Some(Arc::new(Room { bytes, waiting: self.waiting.clone(), _permit: permit }))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.waiting.decrement(self.bytes);
    }
}

/// In as few messages as it takes, in order; or the records that fit none.
fn split(records: Vec<Record>) -> Result<Vec<Load>, Vec<Refusal>> {
    let mut loads = Vec::with_capacity(1);
    let mut load = Load { records: Vec::with_capacity(records.len()), size: 0 };
    let mut refused = Vec::new();
    for (index, record) in records.into_iter().enumerate() {
        let size = size(&record) + 1;
        if size > FITS {
            let reason = format!("is {size} bytes long in the queue, where {FITS} is the most");
            refused.push(Refusal { index, code: "invalid_snapshot".to_owned(), reason });
            continue;
        }
        if load.size + size > FITS {
            loads.push(std::mem::take(&mut load));
        }
        load.records.push(record);
        load.size += size;
    }
    loads.push(load);
    if refused.is_empty() { Ok(loads) } else { Err(refused) }
}

/// Bytes of a record in a message.
fn size(record: &Record) -> usize {
    let mut counter = Counter(0);
    // What cannot be written fits nowhere.
    serde_json::to_writer(&mut counter, record).map_or(LARGEST, |()| counter.0)
}

/// Counts what is written to it.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn pack(
    mut parts: mpsc::UnboundedReceiver<Part>,
    publisher: Publisher<Message>,
    instruments: PackInstruments,
) {
    let turns = Arc::new(Semaphore::new(UNDER_WAY));
    let mut left = None;
    let mut number: u64 = 0;
    loop {
        let first = match left.take() {
            Some(part) => part,
            None => match parts.recv().await {
                Some(part) => part,
                None => return,
            },
        };
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let packed;
        (packed, left) = fill(first, &mut parts).await;
        let (publisher, instruments) = (publisher.clone(), instruments.clone());
        number += 1;
        tokio::spawn(async move {
            deliver(number, packed, &publisher, &instruments).await;
            drop(turn);
        });
    }
}

/// The parts of one message: `first`, what waits already, and what comes until `first` has waited long enough; and the part
/// that no longer fits, which begins the next one.
async fn fill(first: Part, parts: &mut mpsc::UnboundedReceiver<Part>) -> (Vec<Part>, Option<Part>) {
    let (soon, late) = (first.arrived + LEAST, first.arrived + LINGER);
    let (mut size, mut records) = (first.load.size, first.load.records.len());
    let mut packed = vec![first];
    // `timeout_at` takes what waits already even if the time is over.
    while let Ok(Some(part)) = timeout_at(if records < ENOUGH { late } else { soon }, parts.recv()).await {
        size += part.load.size;
        if size > FITS {
            return (packed, Some(part));
        }
        records += part.load.records.len();
        packed.push(part);
    }
    (packed, None)
}

/// Publishes the message `number`, and tells those whose parts it has how that went.
async fn deliver(
    number: u64,
    packed: Vec<Part>,
    publisher: &Publisher<Message>,
    instruments: &PackInstruments,
) {
    // The others gave up: they were answered 503, or are gone. Publishing their records would add to the load that made them
    // late.
    let wanted = packed.into_iter().filter(|part| !part.confirm.is_closed());
    let mut records = Vec::new();
    let mut answers = Vec::new();
    for Part { load, confirm, _room: room, arrived: _ } in wanted {
        records.extend(load.records);
        answers.push((confirm, room));
    }
    let count = records.len();
    if count == 0 {
        return;
    }
    tracing::debug!(queue_message = number, requests = answers.len(), records = count, "publishes a message");
    match publisher.publish(Message::Snapshots(records)).await {
        Ok(()) => {
            instruments.records.record(count as f64);
            for (confirm, room) in answers {
                drop(room);
                // The request may have stopped waiting.
                let _ = confirm.send(number);
            }
        }
        // The ticks tell the log.
        Err(PublishError::Unavailable(_)) => {}
        Err(PublishError::Refused(_)) => {
            tracing::error!(records = count, "the queue refused a message that was measured to fit");
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet::{Interval, Millis, ServerId, Snapshot, wire::v1};
    use futures_util::FutureExt;
    use queue::{Consumer, Delivery};
    use tokio::task::JoinHandle;

    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    type Outcome = JoinHandle<Result<(), NotTaken>>;

    fn start() -> (Arc<Packer>, Consumer<Message>) {
        let (publisher, consumer) = queue::in_process(1_000, |_| 1);
        (Arc::new(Packer::start(publisher)), consumer)
    }

    fn send(packer: &Arc<Packer>, records: Vec<Record>) -> Outcome {
        let packer = Arc::clone(packer);
        tokio::spawn(async move { packer.publish(records).await })
    }

    fn checked(raw: v1::Snapshot) -> Record {
        let (server, interval) = (ServerId::new(NOW, [7; 10]), Interval::DEFAULT);
        let snapshot = Snapshot::check(raw, interval).unwrap();
        Record { server, generation: 1, received_at: NOW, interval, snapshot }
    }

    fn beat(sampled_at: Millis) -> Record {
        checked(v1::Snapshot { sampled_at, ..v1::Snapshot::default() })
    }

    /// One of exactly so many bytes, which may be 6,000 to 103,000.
    fn sized(bytes: usize, sampled_at: Millis) -> Record {
        let text = || Some("x".repeat(256));
        let disk = v1::Disk { mount: text(), device: text(), filesystem: text(), ..v1::Disk::default() };
        let mut raw = v1::Snapshot {
            sampled_at,
            disks: vec![disk; 64],
            networks: vec![v1::Network { name: text(), ..v1::Network::default() }; 64],
            temperatures: vec![v1::Temperature { name: text(), ..v1::Temperature::default() }; 128],
            ..v1::Snapshot::default()
        };
        let mut over = size(&checked(raw.clone())) - bytes;
        let names = raw.networks.iter_mut().map(|network| &mut network.name);
        let sensors = raw.temperatures.iter_mut().map(|sensor| &mut sensor.name);
        let disks = raw.disks.iter_mut().flat_map(|disk| {
            let v1::Disk { mount, device, filesystem, .. } = disk;
            [mount, device, filesystem]
        });
        for text in disks.chain(names).chain(sensors).flatten() {
            let cut = over.min(256);
            text.truncate(256 - cut);
            over -= cut;
        }
        let record = checked(raw);
        assert_eq!(size(&record), bytes);
        record
    }

    fn records(delivery: &Delivery<Message>) -> Vec<Record> {
        let Message::Snapshots(records) = delivery.message() else { panic!("not snapshots") };
        records.clone()
    }

    fn times(delivery: &Delivery<Message>) -> Vec<Millis> {
        records(delivery).iter().map(|record| record.snapshot.sampled_at() - NOW).collect()
    }

    fn bytes(delivery: &Delivery<Message>) -> usize {
        serde_json::to_vec(delivery.message()).unwrap().len()
    }

    async fn one(consumer: &mut Consumer<Message>) -> Delivery<Message> {
        let mut batch = consumer.receive(1).await.unwrap();
        batch.pop().unwrap()
    }

    /// All that comes while nothing is settled.
    async fn all(consumer: &mut Consumer<Message>) -> Vec<Delivery<Message>> {
        let mut deliveries = Vec::new();
        while let Ok(Some(batch)) = timeout(Duration::from_millis(100), consumer.receive(1_000)).await {
            deliveries.extend(batch);
        }
        deliveries
    }

    #[test]
    fn a_record_is_measured_as_it_is_written() {
        let texts =
            v1::Host { hostname: Some("\"\\/\n\u{1}ü\u{1f600}\u{202e}".to_owned()), ..v1::Host::default() };
        let shares = [0.1, 33.333_332, 1e-7, 100.0, 0.0, -0.0];
        let full = v1::Snapshot {
            sampled_at: NOW,
            covers_ms: 60_000,
            host: Some(texts),
            cpu: Some(v1::Cpu { total: Some(1e-40), cores: shares.to_vec(), ..v1::Cpu::default() }),
            load: Some([0.25, 1e6, 3.4]),
            memory: Some(v1::Memory { total: Some(1 << 62), ..v1::Memory::default() }),
            agent: Some(v1::Agent { skew_ms: Some(-7_200_000), ..v1::Agent::default() }),
            ..v1::Snapshot::default()
        };
        for record in [beat(0), checked(full), sized(60_000, NOW)] {
            let written = serde_json::to_vec(&record).unwrap();
            assert_eq!(size(&record), written.len());
            for count in [0, 1, 2, 5] {
                let message = Message::Snapshots(vec![record.clone(); count]);
                let commas = count.saturating_sub(1);
                let whole = ENVELOPE + count * written.len() + commas;
                assert_eq!(serde_json::to_vec(&message).unwrap().len(), whole);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_a_moment_share_a_message_and_its_confirm() {
        let (packer, mut consumer) = start();
        let sent: Vec<Outcome> = (0..100).map(|at| send(&packer, vec![beat(NOW + at)])).collect();
        let message = one(&mut consumer).await;
        assert_eq!(times(&message), (0..100).collect::<Vec<_>>());
        assert!(all(&mut consumer).await.is_empty());
        assert!(sent.iter().all(|outcome| !outcome.is_finished()), "answered before the confirm");
        message.ack().await;
        for outcome in sent {
            assert_eq!(outcome.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_fifty_milliseconds_for_company_and_three_where_there_is_enough() {
        for (others, least, most) in [(0, 50, 51), (ENOUGH - 2, 50, 51), (ENOUGH - 1, 2, 3), (200, 2, 3)] {
            let (packer, mut consumer) = start();
            let begun = Instant::now();
            let mut sent = vec![send(&packer, vec![beat(NOW)])];
            sent.extend((1..=others).map(|at| send(&packer, vec![beat(NOW + at as Millis)])));
            let message = one(&mut consumer).await;
            let waited = begun.elapsed();
            let [least, most] = [least, most].map(Duration::from_millis);
            assert!(least <= waited && waited <= most, "{waited:?} with {others}");
            assert_eq!(times(&message).len(), 1 + others);
            message.ack().await;
            for outcome in sent {
                assert_eq!(outcome.await.unwrap(), Ok(()));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn behind_eight_messages_without_a_confirm_the_next_ones_fill_up() {
        let (packer, mut consumer) = start();
        let mut sent = Vec::new();
        let mut under_way = Vec::new();
        for at in 0..8 {
            sent.push(send(&packer, vec![beat(NOW + at)]));
            under_way.push(one(&mut consumer).await);
        }
        for at in 8..24 {
            sent.push(send(&packer, vec![sized(9_900, NOW + at)]));
            assert!(all(&mut consumer).await.is_empty(), "a ninth message");
        }
        under_way.pop().unwrap().ack().await;
        let ninth = one(&mut consumer).await;
        assert_eq!(times(&ninth), (8..18).collect::<Vec<_>>());
        assert!(all(&mut consumer).await.is_empty());
        ninth.ack().await;
        under_way.extend(all(&mut consumer).await);
        assert_eq!(times(under_way.last().unwrap()), (18..24).collect::<Vec<_>>());
        for delivery in under_way {
            delivery.ack().await;
        }
        for outcome in sent {
            assert_eq!(outcome.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_may_be_full_to_the_byte_and_not_beyond() {
        for (more, messages) in [(0, 1), (1, 2)] {
            let (packer, mut consumer) = start();
            // Each with its comma.
            let (first, second) = (sized(60_000, NOW), sized(FITS - 60_001 - 1 + more, NOW + 1));
            let sent = [send(&packer, vec![first]), send(&packer, vec![second])];
            let delivered = all(&mut consumer).await;
            assert_eq!(delivered.len(), messages);
            if messages == 1 {
                assert_eq!(bytes(&delivered[0]), LARGEST);
            }
            for delivery in delivered {
                delivery.ack().await;
            }
            for outcome in sent {
                assert_eq!(outcome.await.unwrap(), Ok(()));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_larger_request_is_split_and_confirmed_by_the_last_of_its_messages() {
        let (packer, mut consumer) = start();
        let sent = send(&packer, (0..25).map(|at| sized(10_000, NOW + at)).collect());
        let delivered = all(&mut consumer).await;
        assert!(delivered.iter().all(|delivery| bytes(delivery) <= LARGEST));
        let whole: Vec<_> = delivered.iter().flat_map(times).collect();
        assert_eq!((delivered.len(), whole), (3, (0..25).collect()));
        for delivery in delivered {
            assert!(!sent.is_finished(), "answered before the last confirm");
            delivery.ack().await;
            assert!(all(&mut consumer).await.is_empty());
        }
        assert_eq!(sent.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_unavailable_if_one_of_its_messages_is() {
        let (packer, mut consumer) = start();
        let larger = send(&packer, (0..15).map(|at| sized(10_000, NOW + at)).collect());
        let beside = send(&packer, vec![beat(NOW + 15)]);
        let mut delivered = all(&mut consumer).await;
        assert_eq!(times(&delivered[1]), (9..16).collect::<Vec<_>>(), "the rest of it has company");
        delivered.remove(0).ack().await;
        drop((delivered, consumer));
        assert_eq!(larger.await.unwrap(), Err(NotTaken::Unavailable));
        assert_eq!(beside.await.unwrap(), Err(NotTaken::Unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn snapshots_that_fit_no_message_are_named_and_nothing_of_their_request_is_published() {
        let (packer, mut consumer) = start();
        let largest = sized(FITS - 1, NOW);
        let beside = send(&packer, vec![largest.clone()]);
        let larger = sized(FITS, NOW);
        let sent = send(&packer, vec![beat(NOW), larger.clone(), largest, larger]);
        let Err(NotTaken::TooLarge(refused)) = sent.await.unwrap() else { panic!("taken") };
        let told: Vec<_> = refused.iter().map(|one| (one.index, one.code.as_str())).collect();
        assert_eq!(told, [(1, "invalid_snapshot"), (3, "invalid_snapshot")]);
        let delivered = all(&mut consumer).await;
        assert_eq!((delivered.len(), bytes(&delivered[0])), (1, LARGEST));
        for delivery in delivered {
            delivery.ack().await;
        }
        assert_eq!(beside.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_away_takes_nobody_along() {
        let (packer, mut consumer) = start();
        let mut sent: Vec<Outcome> = (0..4).map(|at| send(&packer, vec![beat(NOW + at)])).collect();
        // One while its record still lingers, one while it is under way.
        tokio::task::yield_now().await;
        sent.remove(1).abort();
        let message = one(&mut consumer).await;
        assert_eq!(times(&message), [0, 2, 3]);
        sent.remove(1).abort();
        message.ack().await;
        for outcome in sent {
            assert_eq!(outcome.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_ten_seconds() {
        let (packer, consumer) = start();
        let begun = Instant::now();
        let sent: Vec<Outcome> = (0..20).map(|at| send(&packer, vec![sized(60_000, NOW + at)])).collect();
        for outcome in sent {
            assert_eq!(outcome.await.unwrap(), Err(NotTaken::Unavailable));
        }
        assert!(begun.elapsed() <= PATIENCE + Duration::from_millis(1), "{:?}", begun.elapsed());
        drop(consumer);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_room_is_turned_away_at_once_until_there_is_room_again() {
        let (packer, mut consumer) = start();
        let record = sized(90_000, NOW);
        let takes = size_of::<Record>() + record.snapshot.weight();
        let sent: Vec<Outcome> = (0..ROOM / takes).map(|_| send(&packer, vec![record.clone()])).collect();
        let delivered = all(&mut consumer).await;
        assert_eq!(delivered.len(), UNDER_WAY);
        let beyond = packer.publish(vec![record.clone()]).now_or_never();
        assert_eq!(beyond, Some(Err(NotTaken::Unavailable)));
        let acks = async {
            for delivery in delivered {
                delivery.ack().await;
            }
            while let Some(batch) = consumer.receive(1).await {
                for delivery in batch {
                    delivery.ack().await;
                }
            }
        };
        let rest = async {
            for outcome in sent {
                assert_eq!(outcome.await.unwrap(), Ok(()));
            }
            assert_eq!(packer.room.available_permits(), ROOM);
            assert_eq!(packer.publish(vec![record]).await, Ok(()));
            drop(packer);
        };
        // A dropped packer lets go of its publisher.
        tokio::join!(acks, rest);
    }
}
