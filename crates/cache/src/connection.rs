//! One connection to Redis, kept in the background. A call waits for it only a moment: a slow cache counts as one
//! that is away.
//!
//! The driver's own connection manager goes on using a connection whose replies time out, and lets each caller wait
//! while it reconnects. This one replaces a connection at the first timeout, and refuses calls at once until the next
//! stands.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{RedisUrl, Unavailable};

/// How long a call takes at most, whatever the server does.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long making a connection may take. Only the first callers wait for it, and they for at most [`PATIENCE`].
const CONNECT: Duration = Duration::from_secs(2);

/// The first and the longest pause between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Dropping it ends the connection.
pub struct Connection {
    state: watch::Receiver<State>,
    /// The highest number among the connections that failed.
    broken: watch::Sender<u64>,
    keeper: JoinHandle<()>,
}

#[derive(Clone)]
enum State {
    /// The very first attempt is under way.
    Connecting,
    /// The connection, and its number, from 1.
    Up(u64, MultiplexedConnection),
    /// There is no connection, and why.
    Down(String),
}

impl Connection {
    /// Connects in the background of the current tokio runtime, again and again.
    pub fn open(url: &RedisUrl) -> Self {
        let client = url.0.clone();
        // Fails if the process has chosen one already, which then serves.
        drop(rustls::crypto::ring::default_provider().install_default());
        let (tell, state) = watch::channel(State::Connecting);
        let (broken, failed) = watch::channel(0);
        let keeper = tokio::spawn(keep(client, tell, failed));
        Self { state, broken, keeper }
    }

    /// Asks the server one question, for at most [`PATIENCE`].
    #[tracing::instrument(target = "steps", level = "debug", name = "cache", skip_all)]
    pub async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, Unavailable> {
        let mut used = 0;
        let answered = timeout(PATIENCE, async {
            let (number, mut connection) = self.connection().await?;
            used = number;
            question(&mut connection).await.map_err(|error| {
                if !usable_after(&error) {
                    self.replace(number);
                }
                Unavailable(error.to_string())
            })
        });
        answered.await.unwrap_or_else(|_| {
            self.replace(used);
            Err(Unavailable(format!("no answer within {} ms", PATIENCE.as_millis())))
        })
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), Unavailable> {
        let mut state = self.state.clone();
        match state.wait_for(|state| !matches!(state, State::Connecting)).await.as_deref() {
            Ok(State::Up(number, connection)) => Ok((*number, connection.clone())),
            Ok(State::Down(reason)) => Err(Unavailable(reason.clone())),
            Ok(State::Connecting) | Err(_) => Err(Unavailable("not connected".to_owned())),
        }
    }

    /// Has the connection of this number replaced. It is replaced once, however many calls failed on it.
    fn replace(&self, number: u64) {
        self.broken.send_if_modified(|broken| {
            let newly = number > *broken;
            *broken = number.max(*broken);
            newly
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Whether the connection is usable after this error, because the server itself answered it. A server that has become a
/// read-only replica is not: a new connection may lead to the primary.
fn usable_after(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(kind) if kind != ServerErrorKind::ReadOnly)
}

async fn keep(client: Client, state: watch::Sender<State>, mut broken: watch::Receiver<u64>) {
    // Without a timeout of replies: `ask` has its own.
    let config =
        AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(Some(CONNECT));
    let mut pause = PAUSES.0;
    let mut number = 0;
    loop {
        match timeout(CONNECT, client.get_multiplexed_async_connection_with_config(&config)).await {
            Ok(Ok(connection)) => {
                number += 1;
                pause = PAUSES.0;
                state.send_replace(State::Up(number, connection));
                if broken.wait_for(|broken| *broken >= number).await.is_err() {
                    return;
                }
                state.send_replace(State::Down("the connection was lost".to_owned()));
            }
            Ok(Err(error)) => drop(state.send_replace(State::Down(error.to_string()))),
            Err(_) => drop(state.send_replace(State::Down("it does not answer".to_owned()))),
        }
        sleep(pause).await;
        pause = (2 * pause).min(PAUSES.1);
    }
}
