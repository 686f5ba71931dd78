//! How the agent reaches what carries out orders: a socket to the hand, or, within `rollcall`, the hand itself on a thread.

#[cfg(target_os = "linux")]
use std::io;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fleet::{Millis, id::OrderId};
use wire::v1::{OrderResult, SignedOrder};

#[cfg(target_os = "linux")]
use crate::hand;
use crate::{clock::Clock, settings::HandPlace};

/// How often the hand is asked for one order, as it may be killed meanwhile; and the pause between.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long an answer may take: longer than all that the hand waits for, with others before.
#[cfg(target_os = "linux")]
const PATIENCE: Duration = Duration::from_secs(300);
/// More than any answer.
#[cfg(target_os = "linux")]
const MAX_ANSWER: u64 = 64 * 1_024;

/// The way to the hand.
pub(crate) struct Reach {
    place: HandPlace,
    conf: PathBuf,
    clock: Clock,
    /// Once an order came, where orders are carried out in this process.
    #[cfg(target_os = "linux")]
    here: Option<std::sync::Arc<std::sync::Mutex<hand::Hand>>>,
}

/// What is asked of the hand.
pub(crate) struct Request {
    pub order: SignedOrder,
    /// The gate's clock when the order came, and when that was.
    pub now: Millis,
    pub came: Instant,
    pub server: String,
}

/// Why there is no answer.
enum Unanswered {
    /// Nobody was there to ask.
    Nobody(String),
    /// It was asked, and may have begun.
    Silent(String),
}

/// The id of this boot and the names of the kinds that the owner of this host allows, or why there are none.
pub(crate) fn allowed(conf: &Path) -> Result<(String, Vec<String>), String> {
    #[cfg(target_os = "linux")]
    {
        let (boot, kinds) = hand::allowed(conf)?;
        Ok((boot, kinds.into_iter().map(|kind| kind.to_string()).collect()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        Err(format!("{}: only hosts that run Linux take orders", conf.display()))
    }
}

impl Reach {
    pub fn new(place: HandPlace, conf: PathBuf, clock: Clock) -> Self {
        Self {
            place,
            conf,
            clock,
            #[cfg(target_os = "linux")]
            here: None,
        }
    }

    /// Has the hand carry out an order. Whatever happens there is a result.
    pub async fn carry_out(&mut self, id: OrderId, request: Request) -> OrderResult {
        let clock = self.clock.clone();
        let told = |state: &str, code: Option<&str>, detail: String| OrderResult {
            order: id.to_string(),
            state: state.to_owned(),
            code: code.map(str::to_owned),
            detail: Some(detail),
            at: clock.now(),
            ..OrderResult::default()
        };
        if let Err(why) = allowed(&self.conf) {
            return told("refused", Some("no_hand"), why);
        }
        let (mut nobody, mut silent) = (String::new(), None);
        for tried in 0..TRIES {
            if tried > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            match self.ask(&request).await {
                Ok(result) if result.order == id.to_string() => return result,
                Ok(_) => silent = Some("the hand answered about another order".to_owned()),
                Err(Unanswered::Silent(why)) => silent = Some(why),
                Err(Unanswered::Nobody(why)) => nobody = why,
            }
        }
        match silent {
            Some(why) => told("unknown", None, why),
            None => told("refused", Some("no_hand"), nobody),
        }
    }

    #[cfg(target_os = "linux")]
    async fn ask(&mut self, request: &Request) -> Result<OrderResult, Unanswered> {
        let now = crate::orders::gate_now(request.now, request.came);
        let ask = hand::Ask { order: request.order.clone(), now, server: request.server.clone() };
        match &self.place {
            HandPlace::Socket(path) => over(path, &ask).await,
            HandPlace::Here(dir) => {
                let places =
                    hand::Places { conf: self.conf.clone(), dir: dir.clone(), ..hand::Places::default() };
                let clock = self.clock.clone();
                let own = self.here.get_or_insert_with(|| {
                    std::sync::Arc::new(std::sync::Mutex::new(hand::Hand::new(places, clock)))
                });
                here(own.clone(), ask).await
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn ask(&mut self, _: &Request) -> Result<OrderResult, Unanswered> {
        Err(Unanswered::Nobody("only hosts that run Linux take orders".to_owned()))
    }
}

/// One request over the hand's socket.
#[cfg(target_os = "linux")]
async fn over(path: &Path, ask: &hand::Ask) -> Result<OrderResult, Unanswered> {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };
    let nobody =
        |error: io::Error| Unanswered::Nobody(format!("the hand's socket {}: {error}", path.display()));
    let silent = |why: String| Unanswered::Silent(format!("the hand was asked, and {why}"));
    let mut stream = UnixStream::connect(path).await.map_err(nobody)?;
    let mut line = serde_json::to_vec(ask).map_err(|error| silent(error.to_string()))?;
    line.push(b'\n');
    let answer = async {
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => {
            serde_json::from_slice(&answer).map_err(|_| silent("ended without an answer".to_owned()))
        }
        Ok(Err(error)) => Err(silent(error.to_string())),
        Err(_) => Err(silent(format!("did not answer within {} s", PATIENCE.as_secs()))),
    }
}

/// The hand of this process, on a thread that nobody waits for when the process stops: what it had begun is `unknown` then.
#[cfg(target_os = "linux")]
async fn here(
    hand: std::sync::Arc<std::sync::Mutex<hand::Hand>>,
    ask: hand::Ask,
) -> Result<OrderResult, Unanswered> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let carry_out = move || {
        let mut hand = hand.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Whoever asked may have gone.
        drop(answer.send(hand.carry_out(&ask)));
    };
    let thread = std::thread::Builder::new().name("hand".to_owned()).spawn(carry_out);
    thread.map_err(|error| Unanswered::Nobody(format!("there is no thread for the hand: {error}")))?;
    let silent = || Unanswered::Silent("the hand was asked, and did not answer".to_owned());
    answered.await.ok().flatten().ok_or_else(silent)
}
