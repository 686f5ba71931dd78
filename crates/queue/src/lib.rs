//! The queue between those who publish and those who store.
//!
//! [`Publisher::publish`] returns once what it published is durable: for a broker when the broker confirmed it, in
//! process when the consumer has stored and acked it. A delivery that is dropped unsettled returns to the queue. This
//! crate knows no message type.
//!
//! The two variants: [`mod@in_process`] and [`rabbitmq`].
#![warn(missing_docs)]

mod dead_letters;
mod in_process;
pub mod rabbitmq;

pub use dead_letters::DeadLetters;
pub use in_process::in_process;

/// Why something is not in the queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError<M> {
    /// It may or may not have been taken; publish it again later.
    #[error("the queue is unavailable: {0}")]
    Unavailable(&'static str),
    /// The store will never take these parts of it; everything else of the message was taken. A broker's publisher
    /// answers so only for a message that it does not send at all, being too large.
    #[error("{} parts were refused", .0.len())]
    Refused(Vec<Refused<M>>),
}

/// A part of a message that no store will ever take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<M> {
    /// The refused part, alone.
    pub message: M,
    /// Why, for people.
    pub reason: String,
}

/// Publishes messages. Clones share one queue.
pub enum Publisher<M> {
    /// To a consumer in this process.
    InProcess(in_process::Publisher<M>),
    /// To a broker.
    RabbitMq(rabbitmq::Publisher<M>),
}

/// Receives messages. Once the consumer in a process is dropped nobody can receive any more, and publishing there is
/// [`Unavailable`](PublishError::Unavailable).
pub enum Consumer<M> {
    /// From publishers in this process.
    InProcess(in_process::Consumer<M>),
    /// From a broker.
    RabbitMq(rabbitmq::Consumer<M>),
}

/// A received message, to be settled exactly once: by [`ack`](Self::ack) or [`refuse`](Self::refuse). If it is
/// dropped unsettled, it returns to the queue: in process to the front and as it is at that moment, to a broker as it
/// was published.
pub struct Delivery<M> {
    /// Empty once it is settled or dropped.
    unsettled: Option<Unsettled<M>>,
}

enum Unsettled<M> {
    InProcess(in_process::Taken<M>),
    RabbitMq(rabbitmq::Received<M>),
}

impl<M> Clone for Publisher<M> {
    fn clone(&self) -> Self {
        match self {
            Self::InProcess(publisher) => Self::InProcess(publisher.clone()),
            Self::RabbitMq(publisher) => Self::RabbitMq(publisher.clone()),
        }
    }
}

impl<M: Send> Publisher<M> {
    /// Returns once the message is durable. A message whose publisher stopped waiting is delivered all the same.
    pub async fn publish(&self, message: M) -> Result<(), PublishError<M>> {
        match self {
            Self::InProcess(publisher) => publisher.publish(message).await,
            Self::RabbitMq(publisher) => publisher.publish(message).await,
        }
    }

    /// Returns once the queue was reached for the first time. In process that is at once.
    pub async fn reached(&self) {
        match self {
            Self::InProcess(_) => {}
            Self::RabbitMq(publisher) => publisher.reached().await,
        }
    }
}

impl<M> Consumer<M> {
    /// Where what is [refused](Delivery::refuse) goes.
    pub fn dead_letters(&self) -> DeadLetters {
        match self {
            Self::InProcess(_) => DeadLetters::InProcess,
            Self::RabbitMq(consumer) => DeadLetters::RabbitMq(Box::new(consumer.settings().clone())),
        }
    }
}

impl<M: Send> Consumer<M> {
    /// Waits for a message and returns all that wait, at most `most`, in the order in which they were published. In
    /// process `None` once every publisher is gone and nothing waits; with a broker publishers are not known, and it
    /// waits on. Cancel-safe.
    pub async fn receive(&mut self, most: usize) -> Option<Vec<Delivery<M>>> {
        let received: Vec<Unsettled<M>> = match self {
            Self::InProcess(consumer) => {
                consumer.receive(most).await?.into_iter().map(Unsettled::InProcess).collect()
            }
            Self::RabbitMq(consumer) => {
                consumer.receive(most).await?.into_iter().map(Unsettled::RabbitMq).collect()
            }
        };
        Some(received.into_iter().map(|one| Delivery { unsettled: Some(one) }).collect())
    }

    /// Leaves what waits to other consumers until the next [`receive`](Self::receive). All that this consumer has in
    /// hand returns to the queue, and settling it has no effect any more. In process there is one consumer only, and
    /// nothing happens.
    pub fn pause(&mut self) {
        match self {
            Self::InProcess(_) => {}
            Self::RabbitMq(consumer) => consumer.pause(),
        }
    }

    /// Returns once the queue was reached for the first time. In process that is at once.
    pub async fn reached(&self) {
        match self {
            Self::InProcess(_) => {}
            Self::RabbitMq(consumer) => consumer.reached().await,
        }
    }

    /// Ends the consumer. Returns once the broker was told of everything that was settled and has back what was not;
    /// a process that ended earlier would make the broker deliver again what is done. Waits for deliveries that are
    /// still in hand.
    pub async fn close(self) {
        match self {
            Self::InProcess(_) => {}
            Self::RabbitMq(consumer) => consumer.close().await,
        }
    }
}

impl<M> Delivery<M> {
    /// What was published.
    pub fn message(&self) -> &M {
        match &self.unsettled {
            Some(Unsettled::InProcess(taken)) => taken.message(),
            Some(Unsettled::RabbitMq(received)) => received.message(),
            None => unreachable!("only what consumes a delivery empties it"),
        }
    }

    /// What was published, to take parts out of it. Put them back before the delivery is dropped unsettled: in
    /// process it returns to the queue as it is.
    pub fn message_mut(&mut self) -> &mut M {
        match &mut self.unsettled {
            Some(Unsettled::InProcess(taken)) => taken.message_mut(),
            Some(Unsettled::RabbitMq(received)) => received.message_mut(),
            None => unreachable!("only what consumes a delivery empties it"),
        }
    }
}

impl<M: Send> Delivery<M> {
    /// The message is stored.
    pub async fn ack(mut self) {
        match self.unsettled.take() {
            Some(Unsettled::InProcess(taken)) => taken.settle(Ok(())),
            Some(Unsettled::RabbitMq(received)) => received.ack(),
            None => unreachable!("a delivery is settled once"),
        }
    }

    /// The message is stored but for these parts, which no store will ever take. In process they come back to their
    /// publisher; with a broker each goes alone to the dead letters, and then the message is acked.
    pub async fn refuse(mut self, refused: Vec<Refused<M>>) {
        match self.unsettled.take() {
            Some(Unsettled::InProcess(taken)) => taken.settle(Err(refused)),
            Some(Unsettled::RabbitMq(received)) => received.refuse(refused).await,
            None => unreachable!("a delivery is settled once"),
        }
    }
}

impl<M> Drop for Delivery<M> {
    fn drop(&mut self) {
        match self.unsettled.take() {
            Some(Unsettled::InProcess(taken)) => taken.give_back(),
            // Dropping its receipt returns it.
            Some(Unsettled::RabbitMq(_)) | None => {}
        }
    }
}
