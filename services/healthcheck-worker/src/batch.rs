//! Messages that are stored together, and the one place that settles them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fleet::{Message, Millis, Outcome, Record, ServerId, Tick, access::UNKNOWN_SERVER};
use history::Rejected;
use queue::{Delivery, Refused};

use crate::hand::Span;

/// Deliveries, and their records in one list, as stores take them. When a batch is dropped unsettled, each record
/// goes back into its delivery and each delivery to the queue: an emptied delivery must not return to the queue as it
/// is.
pub struct Batch {
    deliveries: Vec<(Span, Delivery<Message>)>,
    records: Vec<Record>,
    /// For each record, the index of its delivery.
    owners: Vec<usize>,
    /// Records that are not admitted, with the index of their delivery.
    discarded: Vec<(Record, usize, Admission)>,
}

/// Whether a record is admitted to the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// The registry never knew its server.
    Unknown,
    /// Someone deleted its server.
    Deleted,
    /// Its credential is revoked.
    Revoked,
}

impl Batch {
    /// Takes messages from the front of `waiting` until they hold `most` records together, and at least one message.
    pub fn next(waiting: &mut VecDeque<(Span, Delivery<Message>)>, most: usize) -> Self {
        let (deliveries, records, owners) = (Vec::new(), Vec::new(), Vec::new());
        let mut batch = Self { deliveries, records, owners, discarded: Vec::new() };
        while batch.records.len() < most
            && let Some((span, mut delivery)) = waiting.pop_front()
        {
            if let Message::Snapshots(records) = delivery.message_mut() {
                batch.owners.resize(batch.owners.len() + records.len(), batch.deliveries.len());
                batch.records.append(records);
            }
            batch.deliveries.push((span, delivery));
        }
        batch
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The servers of the records and of what is said of orders, each once, in order of their ids.
    pub fn servers(&self) -> Vec<ServerId> {
        let of_outcomes = self.outcomes().into_iter().map(|outcome| outcome.server);
        let of_records = self.records.iter().map(|record| record.server);
        let mut servers: Vec<_> = of_records.chain(of_outcomes).collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// What hosts say of orders. They stay in their deliveries: storing them again changes nothing.
    pub fn outcomes(&self) -> Vec<&Outcome> {
        let messages = self.deliveries.iter().map(|(_, delivery)| delivery.message());
        let results = messages.filter_map(|message| match message {
            Message::Results(results) => Some(results),
            Message::Snapshots(_) | Message::Tick(_) => None,
        });
        results.flatten().collect()
    }

    /// Sets aside the records that are not admitted. They are discarded when the batch is settled.
    pub fn admit(&mut self, admission: impl FnMut(&Record) -> Admission) {
        let admissions: Vec<Admission> = self.records.iter().map(admission).collect();
        if admissions.iter().all(|admission| *admission == Admission::Admitted) {
            return;
        }
        let records = std::mem::take(&mut self.records).into_iter().zip(std::mem::take(&mut self.owners));
        for ((record, owner), admission) in records.zip(admissions) {
            if admission == Admission::Admitted {
                self.records.push(record);
                self.owners.push(owner);
            } else {
                self.discarded.push((record, owner, admission));
            }
        }
    }

    /// How many records were set aside as `why`.
    pub fn discarded(&self, why: Admission) -> usize {
        self.discarded.iter().filter(|(_, _, admission)| *admission == why).count()
    }

    /// The servers that the registry never knew: the greatest generation of each, and when it was received last.
    pub fn unknown(&self) -> BTreeMap<ServerId, (u32, Millis)> {
        let mut unknown: BTreeMap<ServerId, (u32, Millis)> = BTreeMap::new();
        for (record, _, _) in self.discarded.iter().filter(|(_, _, why)| *why == Admission::Unknown) {
            let seen = unknown.entry(record.server).or_default();
            *seen = (seen.0.max(record.generation), seen.1.max(record.received_at));
        }
        unknown
    }

    /// The same records without their deliveries. Storing, settling or dropping it settles no message.
    pub fn copy(&self) -> Self {
        let (records, owners) = (self.records.clone(), self.owners.clone());
        Self { deliveries: Vec::new(), records, owners, discarded: Vec::new() }
    }

    /// Puts everything back where [`next`](Self::next) took it.
    pub fn put_back(mut self, waiting: &mut VecDeque<(Span, Delivery<Message>)>) {
        self.refill();
        for delivery in std::mem::take(&mut self.deliveries).into_iter().rev() {
            waiting.push_front(delivery);
        }
    }

    /// Of how many deliveries some records are from unknown servers.
    pub fn deliveries_of_unknown(&self) -> usize {
        let unknown = self.discarded.iter().filter(|(_, _, why)| *why == Admission::Unknown);
        unknown.map(|(_, owner, _)| owner).collect::<BTreeSet<_>>().len()
    }

    /// What unknown servers sent, by the index of its delivery.
    fn unknown_of_each(&mut self) -> BTreeMap<usize, Vec<Record>> {
        let mut unknown: BTreeMap<usize, Vec<Record>> = BTreeMap::new();
        for (record, owner, why) in std::mem::take(&mut self.discarded) {
            if why == Admission::Unknown {
                unknown.entry(owner).or_default().push(record);
            }
        }
        unknown
    }

    /// Gives each delivery its records again.
    fn refill(&mut self) {
        let owners = std::mem::take(&mut self.owners);
        let discarded =
            std::mem::take(&mut self.discarded).into_iter().map(|(record, owner, _)| (record, owner));
        for (record, owner) in std::mem::take(&mut self.records).into_iter().zip(owners).chain(discarded) {
            if let Some((_, delivery)) = self.deliveries.get_mut(owner)
                && let Message::Snapshots(records) = delivery.message_mut()
            {
                records.push(record);
            }
        }
    }

    /// Acks or refuses each delivery: all records are stored but for those in `rejected`, and those of unknown servers,
    /// which are refused together, for at most `most_unknown` deliveries. The only place that settles a delivery.
    pub async fn settle(mut self, rejected: Vec<Rejected>, most_unknown: usize) -> (Vec<Span>, Vec<Tick>) {
        let mut refused: BTreeMap<usize, Vec<Refused<Message>>> = BTreeMap::new();
        for (owner, records) in self.unknown_of_each().into_iter().take(most_unknown) {
            let (message, reason) = (Message::Snapshots(records), UNKNOWN_SERVER.to_owned());
            refused.entry(owner).or_default().push(Refused { message, reason });
        }
        for Rejected { index, reason } in rejected {
            if let (Some(record), Some(owner)) = (self.records.get(index), self.owners.get(index)) {
                let message = Message::Snapshots(vec![record.clone()]);
                refused.entry(*owner).or_default().push(Refused { message, reason });
            }
        }
        let (mut spans, mut ticks) = (Vec::with_capacity(self.deliveries.len()), Vec::new());
        self.records.clear();
        self.owners.clear();
        self.discarded.clear();
        for (place, (span, delivery)) in std::mem::take(&mut self.deliveries).into_iter().enumerate() {
            spans.push(span);
            if let Message::Tick(tick) = delivery.message() {
                ticks.push(tick.clone());
            }
            match refused.remove(&place) {
                None => delivery.ack().await,
                Some(refused) => delivery.refuse(refused).await,
            }
        }
        (spans, ticks)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.refill();
    }
}

#[cfg(test)]
mod tests {
    use fleet::{Interval, Snapshot, wire::v1};
    use queue::{Consumer, PublishError, Publisher};
    use tokio::task::JoinHandle;

    use super::*;

    type Published = JoinHandle<Result<(), PublishError<Message>>>;

    fn record(server: u8, sampled_at: i64) -> Record {
        let raw = v1::Snapshot { sampled_at, ..v1::Snapshot::default() };
        Record {
            server: ServerId::from_bytes([server; 16]),
            generation: 1,
            received_at: sampled_at,
            interval: Interval::DEFAULT,
            snapshot: Snapshot::check(raw, Interval::DEFAULT).unwrap(),
        }
    }

    async fn published(messages: &[Message]) -> (Vec<Published>, Consumer<Message>) {
        let (publisher, consumer) = queue::in_process(100, |_| 1);
        let mut tasks = Vec::new();
        for message in messages {
            let (publisher, message): (Publisher<Message>, _) = (publisher.clone(), message.clone());
            tasks.push(tokio::spawn(async move { publisher.publish(message).await }));
            tokio::task::yield_now().await;
        }
        (tasks, consumer)
    }

    async fn received(consumer: &mut Consumer<Message>) -> VecDeque<(Span, Delivery<Message>)> {
        let deliveries = consumer.receive(100).await.unwrap();
        deliveries.into_iter().map(|delivery| (Span::of(delivery.message()), delivery)).collect()
    }

    fn messages() -> [Message; 4] {
        [
            Message::Snapshots(vec![record(1, 10), record(1, 11)]),
            Message::Tick(Tick { gate: "gate".to_owned(), at: 12, open_since: 0 }),
            Message::Snapshots(vec![record(2, 20)]),
            Message::Snapshots(vec![record(3, 30)]),
        ]
    }

    #[tokio::test]
    async fn a_batch_that_is_dropped_returns_whole() {
        let (_published, mut consumer) = published(&messages()).await;
        let mut waiting = received(&mut consumer).await;
        let batch = Batch::next(&mut waiting, 3);
        assert_eq!((batch.records().len(), waiting.len()), (3, 1));
        drop((batch, waiting));
        let returned = received(&mut consumer).await;
        let returned: Vec<_> = returned.iter().map(|(_, delivery)| delivery.message().clone()).collect();
        assert_eq!(returned, messages());
    }

    #[tokio::test]
    async fn a_batch_that_is_put_back_is_taken_again_whole_and_in_order() {
        let (_published, mut consumer) = published(&messages()).await;
        let mut waiting = received(&mut consumer).await;
        let mut batch = Batch::next(&mut waiting, 3);
        let copy = batch.copy();
        batch.admit(|record| match record.server == ServerId::from_bytes([2; 16]) {
            true => Admission::Unknown,
            false => Admission::Admitted,
        });
        assert_eq!(batch.records().len(), 2);
        batch.put_back(&mut waiting);
        assert_eq!(copy.records(), [record(1, 10), record(1, 11), record(2, 20)]);
        drop(copy);
        let messages_waiting: Vec<_> =
            waiting.iter().map(|(_, delivery)| delivery.message().clone()).collect();
        assert_eq!(messages_waiting, messages());
    }

    #[tokio::test]
    async fn settling_acks_all_and_refuses_only_what_was_rejected() {
        let (published, mut consumer) = published(&messages()).await;
        let mut batch = Batch::next(&mut received(&mut consumer).await, 1_000);
        batch.admit(|record| match record.server == ServerId::from_bytes([2; 16]) {
            true => Admission::Revoked,
            false => Admission::Admitted,
        });
        assert_eq!([Admission::Unknown, Admission::Revoked].map(|why| batch.discarded(why)), [0, 1]);
        assert_eq!(batch.servers(), [1, 3].map(|server| ServerId::from_bytes([server; 16])));
        let rejected = vec![Rejected { index: 2, reason: "odd".to_owned() }];
        let (spans, ticks) = batch.settle(rejected, usize::MAX).await;
        assert_eq!((spans.len(), ticks.len()), (4, 1));
        let mut outcomes = Vec::new();
        for task in published {
            outcomes.push(task.await.unwrap());
        }
        let refused = Refused { message: Message::Snapshots(vec![record(3, 30)]), reason: "odd".to_owned() };
        assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), Err(PublishError::Refused(vec![refused]))]);
    }
}
