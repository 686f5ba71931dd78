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

/// Receives messages. Once it is dropped nobody ever will, and publishing is
/// [`Unavailable`](PublishError::Unavailable).
pub enum Consumer<M> {
    /// From publishers in this process.
    InProcess(in_process::Consumer<M>),
    /// From a broker.
    RabbitMq(rabbitmq::Consumer<M>),
}

/// A received message, to be settled exactly once: by [`ack`](Self::ack) or [`refuse`](Self::refuse). Dropped
/// unsettled, it returns to the queue: in process to its head and as it is then, to a broker as it was published.
pub struct Delivery<M> {
    /// Empty once it is settled or dropped.
    held: Option<Held<M>>,
}

enum Held<M> {
    InProcess(in_process::Held<M>),
    RabbitMq(rabbitmq::Held<M>),
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

impl<M: Send> Consumer<M> {
    /// Waits for a message and returns all that wait, `most` at the most, in the order in which they were published;
    /// `None` once every publisher is gone and nothing waits, which of a broker's publishers nobody knows. Cancel-safe.
    pub async fn receive(&mut self, most: usize) -> Option<Vec<Delivery<M>>> {
        let received: Vec<Held<M>> = match self {
            Self::InProcess(consumer) => {
                consumer.receive(most).await?.into_iter().map(Held::InProcess).collect()
            }
            Self::RabbitMq(consumer) => {
                consumer.receive(most).await?.into_iter().map(Held::RabbitMq).collect()
            }
        };
        Some(received.into_iter().map(|held| Delivery { held: Some(held) }).collect())
    }

    /// Leaves what waits to other consumers until the next [`receive`](Self::receive). All that this one has in hand goes
    /// back to the queue, and settling it has no effect any more. In process there are no others: nothing happens.
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

    /// Ends it, and returns once a broker was told of all that was settled, and has back what was not; else a process
    /// that ends now would leave it to repeat work that is done. Waits for deliveries that are still in hand.
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
        match &self.held {
            Some(Held::InProcess(held)) => held.message(),
            Some(Held::RabbitMq(held)) => held.message(),
            None => unreachable!("only what consumes a delivery empties it"),
        }
    }

    /// The same, to take parts out; whoever then drops the delivery unsettled puts them back first.
    pub fn message_mut(&mut self) -> &mut M {
        match &mut self.held {
            Some(Held::InProcess(held)) => held.message_mut(),
            Some(Held::RabbitMq(held)) => held.message_mut(),
            None => unreachable!("only what consumes a delivery empties it"),
        }
    }
}

impl<M: Send> Delivery<M> {
    /// The message is stored.
    pub async fn ack(mut self) {
        match self.held.take() {
            Some(Held::InProcess(held)) => held.settle(Ok(())),
            Some(Held::RabbitMq(held)) => held.ack(),
            None => unreachable!("a delivery is settled once"),
        }
    }

    /// The message is stored but for these parts, which never will be: in process they come back to their publisher; to
    /// a broker each goes alone to the dead letters, and then the message is acked.
    pub async fn refuse(mut self, refused: Vec<Refused<M>>) {
        match self.held.take() {
            Some(Held::InProcess(held)) => held.settle(Err(refused)),
            Some(Held::RabbitMq(held)) => held.refuse(refused).await,
            None => unreachable!("a delivery is settled once"),
        }
    }
}

impl<M> Drop for Delivery<M> {
    fn drop(&mut self) {
        match self.held.take() {
            Some(Held::InProcess(held)) => held.give_back(),
            // It goes back by itself.
            Some(Held::RabbitMq(_)) | None => {}
        }
    }
}
