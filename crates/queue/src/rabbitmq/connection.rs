//! One connection to the broker: how it is opened, how the queues are declared, how it is closed; and what publishing
//! and consuming have in common.
//!
//! The driver's own recovery stays off. Each time a connection is lost, a new session is opened from nothing, so that
//! no state of the session before is left, and all that a session needs is set up in one place.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{Arc, OnceLock},
    time::Duration,
};

use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, ErrorKind,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    tcp::TLSConfig,
    types::{AMQPValue, FieldTable},
    uri::AMQPScheme,
};
use metrics::Gauge;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::Settings;

/// How long it may take from the first packet to a declared queue.
pub const OPENING: Duration = Duration::from_secs(15);
/// A broker that says nothing for two of these is taken for dead. The broker's own default of 60 s would leave us with
/// a dead connection for two minutes.
const HEARTBEAT_SECONDS: u16 = 10;
/// How long closing a connection in order may take.
const CLOSING: Duration = Duration::from_secs(2);
/// How often the broker delivers a message before it dead-letters it, as one that crashes its consumers. Deliveries
/// that restarts and hand-backs cause count too, so the limit is well above what an outage causes.
const DELIVERY_LIMIT: i32 = 50;
/// After a session that lasted this long the back-off begins anew.
const GOOD: Duration = Duration::from_secs(5);

/// Why there is no session, or no longer one; for people.
#[derive(Debug, Clone)]
pub struct Lost(pub String);

/// The queue and the way to its broker.
#[derive(Debug, Clone)]
pub struct Broker {
    settings: Settings,
    /// Name of the queue.
    pub queue: String,
    /// Name of the queue of its dead letters.
    pub dead: String,
}

/// A connection with one channel. Dropping it cuts the connection, whatever state it is in.
pub struct Session {
    pub channel: Channel,
    connection: Connection,
    // The last field, so that it is dropped last: the driver may still write something when `connection` is dropped.
    _plug: Plug,
}

/// A clone of the driver's socket, which cuts the connection when it is dropped. The driver waits without end for a
/// broker that accepts a connection and says nothing, and cannot close a connection that the broker blocks; without
/// the cut each such attempt would leave a thread and a socket behind.
struct Plug(Arc<OnceLock<TcpStream>>);

/// Unlimited, jittered back-off.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
}

/// Writes each change of a connection's state to the log and the metrics, once.
pub struct News {
    side: &'static str,
    queue: String,
    state: Option<State>,
    connected: Gauge,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Up,
    /// The broker takes nothing at present.
    Blocked,
    /// The queue takes nothing at present.
    Full,
    Down,
}

impl Broker {
    pub fn new(settings: &Settings) -> Self {
        let queue = format!("{}.{}", settings.prefix, settings.name);
        Self { settings: settings.clone(), dead: format!("{queue}.dead"), queue }
    }

    pub fn prefetch(&self) -> u16 {
        self.settings.prefetch
    }

    /// Connects and declares both queues. `purpose` is what the broker shows of the connection.
    pub async fn open(&self, purpose: &str) -> Result<Session, Lost> {
        let opening = async {
            let mut session = self.connect(purpose).await?;
            self.declare(&mut session).await?;
            Ok(session)
        };
        timeout(OPENING, opening).await.map_err(|_| Lost("it does not answer".to_owned()))?
    }

    /// Connects without declaring anything.
    pub async fn connect(&self, purpose: &str) -> Result<Session, Lost> {
        let mut uri = self.settings.url.0.clone();
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let name = format!("{} {purpose}", self.queue);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let plug = Plug(Arc::default());
        let socket = Arc::clone(&plug.0);
        let runtime = lapin::runtime::default_runtime()?;
        let dial = Connection::connector(
            uri,
            runtime,
            async move |uri, runtime| {
                let host = (uri.authority.host.as_str(), uri.authority.port);
                let mut stream = Err(io::Error::from(io::ErrorKind::NotFound));
                for address in tokio::net::lookup_host(host).await? {
                    stream = AsyncTcpStream::connect(&runtime, address).await;
                    if stream.is_ok() {
                        break;
                    }
                }
                let stream = stream?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    drop(socket.set(plain.get_ref().as_fd().try_clone_to_owned()?.into()));
                }
                Ok(match uri.scheme {
                    AMQPScheme::AMQP => stream,
                    // The certificate must be that of the host, by an authority that this system trusts.
                    AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, TLSConfig::default()).await?,
                })
            },
            properties,
        );
        let connection = dial.await?;
        let channel = connection.create_channel().await?;
        Ok(Session { channel, connection, _plug: plug })
    }

    /// Publishers and consumers both declare the queues, so that they may start in any order and a queue that was
    /// deleted is made again. A process whose account may not make queues waits until another one has made them.
    async fn declare(&self, session: &mut Session) -> Result<(), Lost> {
        let dead = (self.dead.as_str(), dead_letter_arguments());
        let queue = (self.queue.as_str(), queue_arguments(&self.dead, self.settings.max_length));
        for (name, arguments) in [dead, queue] {
            // durable: it survives a restart of the broker.
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            match session.channel.queue_declare(name.into(), options, arguments).await {
                Ok(_) => {}
                Err(error) if is(&error, AMQPSoftError::ACCESSREFUSED) => {
                    // A refusal closes the channel.
                    session.channel = session.connection.create_channel().await?;
                    // Passive: it asks whether the queue is there, which needs no right.
                    let options = QueueDeclareOptions { passive: true, ..options };
                    session.channel.queue_declare(name.into(), options, FieldTable::default()).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Whether the broker closed the channel for this.
pub fn is(error: &lapin::Error, kind: AMQPSoftError) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    *error.kind() == AMQPErrorKind::Soft(kind)
}

fn queue_arguments(dead: &str, max_length: Option<u32>) -> FieldTable {
    let mut arguments = FieldTable::default();
    // A confirm means that a majority of the nodes has it on disk.
    arguments.insert("x-queue-type".into(), text("quorum"));
    // A full queue refuses new messages; the default drops the oldest, which was confirmed. The dead-letter strategy
    // at-least-once needs it too, and falls back to at-most-once in silence without it.
    arguments.insert("x-overflow".into(), text("reject-publish"));
    // The default exchange, which needs no declaration, routes to the queue of that name.
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(dead));
    // A message leaves this queue only when the queue of dead letters has confirmed it; by default it may be lost on
    // the way.
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    // Ends a crash loop. Since 4.0 there is a limit of 20 unless one is set.
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    if let Some(messages) = max_length {
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(messages.into()));
    }
    arguments
}

fn dead_letter_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    // If a policy bounds this queue: what is in it stays, and new dead letters wait in the queue that they come from.
    arguments.insert("x-overflow".into(), text("reject-publish"));
    // In effect no limit, written so that every version accepts it. This queue has no dead letters of its own, so a
    // message that reached a limit would be dropped.
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
    arguments
}

/// The value of a header or an argument.
pub fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

impl Session {
    /// Whether connection and channel are open, as far as the driver knows.
    pub fn stands(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// Whether the broker takes nothing at present, because it is short of memory or disk.
    pub fn blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Closes the connection in order, so that the broker does not log a lost client.
    pub async fn close(self) {
        drop(timeout(CLOSING, self.connection.close(200, "done".into())).await);
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        if let Some(socket) = self.0.get() {
            // It may be closed already.
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

/// Returns once the sender has told that the broker was reached for the first time.
pub async fn first_reached(reached: &watch::Receiver<bool>) {
    // An error means that the task which connects is gone; that happens only when nobody is left to ask.
    drop(reached.clone().wait_for(|reached| *reached).await);
}

impl From<lapin::Error> for Lost {
    fn from(error: lapin::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Backoff {
    /// To be called when a session, or an attempt at one, that began at `begun` ended.
    pub fn ended(&mut self, begun: Instant) {
        self.failures = if begun.elapsed() >= GOOD { 0 } else { self.failures.saturating_add(1) };
    }

    pub async fn wait(&self) {
        sleep(delay(self.failures, RandomState::new().hash_one(()))).await;
    }
}

/// At most 0.1 s after the first failure, doubled with each further one up to 5 s; between half and all of that at
/// random, so that clients that lost the broker together do not come back together.
fn delay(failures: u32, random: u64) -> Duration {
    let longest = (100 << failures.saturating_sub(1).min(6)).min(5_000);
    Duration::from_millis(longest / 2 + random % (longest / 2 + 1))
}

impl News {
    pub fn new(side: &'static str, queue: &str) -> Self {
        metrics::describe_gauge!(
            "rollcall_queue_connected",
            metrics::Unit::Count,
            "1 while the broker is reached, by queue and side: publish or consume"
        );
        let connected =
            metrics::gauge!("rollcall_queue_connected", "side" => side, "queue" => queue.to_owned());
        Self { side, queue: queue.to_owned(), state: None, connected }
    }

    pub fn tell(&mut self, state: State, why: &str) {
        if self.state == Some(state) {
            return;
        }
        self.connected.set(f64::from(u8::from(state == State::Up)));
        let Self { side, queue, .. } = self;
        match state {
            State::Up => tracing::info!(%queue, side, "the broker is reached"),
            State::Blocked => {
                tracing::warn!(%queue, side, "the broker takes nothing: it is short of memory or disk");
            }
            State::Full => {
                tracing::warn!(%queue, side, "the queue is full: are workers there, and do they keep up?");
            }
            State::Down => tracing::warn!(%queue, side, why, "the broker is away; trying until it is back"),
        }
        self.state = Some(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_grows_to_its_bound_and_is_jittered() {
        for (failures, longest) in
            [(0, 100), (1, 100), (2, 200), (3, 400), (6, 3_200), (7, 5_000), (u32::MAX, 5_000)]
        {
            let (least, most) = (delay(failures, 0), delay(failures, longest / 2));
            assert_eq!(least, Duration::from_millis(longest / 2), "{failures}");
            assert_eq!(most, Duration::from_millis(longest), "{failures}");
            for random in [1, 7, u64::MAX] {
                assert!((least..=most).contains(&delay(failures, random)), "{failures} {random}");
            }
        }
    }
}
