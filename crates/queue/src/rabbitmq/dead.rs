//! The dead letters: how many there are, and sending them through again.

use std::time::Duration;

use futures_util::{
    StreamExt,
    future::{BoxFuture, join_all},
};
use lapin::{
    Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions,
    },
    protocol::AMQPSoftError,
    types::FieldTable,
};
use tokio::time::timeout;

use super::{
    Settings,
    connection::{Broker, Lost, OPENING, Session, is},
    publishing::{Line, To},
};

/// Most dead letters in hand at a time.
const BATCH: u16 = 100;
/// When no dead letter arrives for so long, none is left.
const QUIET: Duration = Duration::from_secs(2);

/// The broker did not answer; ask again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker is away: {0}")]
pub struct BrokerAway(String);

/// Not all dead letters went through again; the text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedriveError {
    /// None did.
    #[error(
        "{0}; nothing was moved: see that the broker runs and that AMQP_URL leads to it, then redrive again"
    )]
    Away(#[from] BrokerAway),
    /// Some did; do it again for the rest.
    #[error("{moved} dead letters went through again, the rest is where it was: {reason}; redrive again")]
    Stopped {
        /// How many are back in their queue.
        moved: u32,
        /// What happened then.
        reason: String,
    },
}

/// How many dead letters wait; 0 where nobody ever used the queue. Opens a connection of its own each time, so ask every
/// few seconds at most.
pub async fn dead_letters(settings: &Settings) -> Result<u32, BrokerAway> {
    let broker = Broker::new(settings);
    let counting = async {
        let session = broker.connect("count").await?;
        let counted = count(&session, &broker.dead).await?;
        session.close().await;
        Ok(counted)
    };
    let counted = timeout(OPENING, counting).await;
    counted.unwrap_or_else(|_| Err(Lost("it does not answer".to_owned()))).map_err(|lost| BrokerAway(lost.0))
}

/// Sends the dead letters that wait now through their queue again, without the headers with their reasons, and
/// returns how many. One that is refused again comes back to the dead letters. If it is stopped half-way, no letter
/// is lost, and some may be sent twice.
///
/// Boxed, because whoever awaits an `async fn` compiles its body once more.
pub fn redrive(settings: &Settings) -> BoxFuture<'_, Result<u32, RedriveError>> {
    Box::pin(redrive_waiting(settings))
}

async fn redrive_waiting(settings: &Settings) -> Result<u32, RedriveError> {
    let broker = Broker::new(settings);
    let session = broker.open("redrive").await.map_err(|lost| BrokerAway(lost.0))?;
    let line = Line::open(broker.clone());
    if timeout(OPENING, line.reached()).await.is_err() {
        return Err(BrokerAway("it does not answer".to_owned()).into());
    }
    let mut moved = 0;
    let result = redrive_all(&session, &broker, &line, &mut moved).await;
    session.close().await;
    result.map(|()| moved).map_err(|lost| RedriveError::Stopped { moved, reason: lost.0 })
}

async fn redrive_all(session: &Session, broker: &Broker, line: &Line, moved: &mut u32) -> Result<(), Lost> {
    let channel = &session.channel;
    let waiting = count(session, &broker.dead).await?;
    channel.basic_qos(BATCH, BasicQosOptions { global: false }).await?;
    // With acks: a letter leaves when its queue has confirmed it.
    let options = BasicConsumeOptions { no_ack: false, ..BasicConsumeOptions::default() };
    let (dead, tag) = (broker.dead.as_str().into(), "".into());
    let mut subscription = channel.basic_consume(dead, tag, options, FieldTable::default()).await?;
    while *moved < waiting {
        let letters = take(&mut subscription, u32::from(BATCH).min(waiting - *moved)).await?;
        // Another redrive has taken the rest.
        let Some(last) = letters.last() else { break };
        let sent =
            letters.iter().map(|letter| line.send(To::Queue, letter.data.clone(), FieldTable::default()));
        let outcomes = join_all(sent).await;
        let failed = outcomes.iter().find_map(|outcome| outcome.err());
        match failed {
            None => channel.basic_ack(last.delivery_tag, BasicAckOptions { multiple: true }).await?,
            Some(_) => {
                // What is not acked returns to the dead letters when the session ends.
                for (letter, _) in letters.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()) {
                    letter.ack(BasicAckOptions { multiple: false }).await?;
                }
            }
        }
        *moved += outcomes.iter().map(|outcome| u32::from(outcome.is_ok())).sum::<u32>();
        if let Some(why) = failed {
            return Err(Lost(why.to_owned()));
        }
    }
    // The queue answers a cancel after it has done everything that it was told before, the acks included.
    Ok(channel.basic_cancel(subscription.tag(), BasicCancelOptions { nowait: false }).await?)
}

/// Takes `most` letters, or fewer if no more arrive for [`QUIET`].
async fn take(subscription: &mut Consumer, most: u32) -> Result<Vec<Delivery>, Lost> {
    let mut letters = Vec::new();
    for _ in 0..most {
        match timeout(QUIET, subscription.next()).await {
            Ok(Some(letter)) => letters.push(letter?),
            Ok(None) => return Err(Lost("the queue is gone".to_owned())),
            Err(_) => break,
        }
    }
    Ok(letters)
}

async fn count(session: &Session, queue: &str) -> Result<u32, Lost> {
    // Passive: it asks and makes nothing, so it needs no right to make queues.
    let options = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
    match session.channel.queue_declare(queue.into(), options, FieldTable::default()).await {
        Ok(queue) => Ok(queue.message_count()),
        Err(error) if is(&error, AMQPSoftError::NOTFOUND) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
