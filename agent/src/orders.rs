//! Orders from the suite: waits for them beside the beats, hands them to the hand, and keeps what became of them on disk until
//! a gate has it. Nothing here can sign, verify or carry out an order.
//!
//! ```text
//! bulletin ─▶ queue ─▶ hand ─▶ results.json ─▶ gate ─▶ remembered for a minute
//! ```
//!
//! Three tasks on the agent's thread: none of them is ever awaited by a beat.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fleet::{Millis, id::OrderId, order};
use reqwest::{Client, header};
use tokio::{sync::Notify, task::JoinSet};
use wire::{
    bounds::MAX_RESULTS,
    v1::{Accepted, Bulletin, OrderResult, Results, SignedOrder},
};

use crate::{
    answer::said,
    backoff::Backoff,
    clock::{Clock, millis},
    files,
    gate::ask,
    reach::{Reach, Request},
    settings::{HandSettings, Secret},
};

const BULLETIN: &str = "/healthcheck/v1/bulletin";
const RESULTS: &str = "/healthcheck/v1/results";
const FILE: &str = "results.json";
/// How long a gate is asked to hold a request; more than it may take.
const HELD: Duration = Duration::from_secs(25);
/// How much longer than that an answer may take, and how long one to results.
const PATIENCE: Duration = Duration::from_secs(15);
/// A gate that does not know these paths is older than they are: it is asked again after this time.
const OLDER_GATE: Duration = Duration::from_secs(600);
/// Two questions that bring nothing are no nearer to each other.
const APART: Duration = Duration::from_secs(1);
/// An order whose result a gate took is not asked for in this time: the word is still on its way to where orders are kept.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Most results that are kept, and most orders that wait.
const MOST: usize = 1_000;
const MOST_WAITING: usize = 64;

/// The agent's side of orders.
pub(crate) struct Orders {
    shared: Arc<Shared>,
    conf: PathBuf,
    /// What the log said last of whether this host takes orders.
    told: Option<String>,
    /// They end with the agent.
    _tasks: JoinSet<()>,
}

/// Where to send to, and as whom.
#[derive(Clone)]
struct Gate {
    url: String,
    credential: Secret,
}

/// An order that waits for the hand.
struct Waiting {
    id: OrderId,
    order: SignedOrder,
    /// The gate's clock when it came, and when that was.
    now: Millis,
    came: Instant,
}

#[derive(Default)]
struct State {
    gate: Option<Gate>,
    server: String,
    /// Whether the host's owner lets orders be carried out.
    opted: bool,
    waiting: VecDeque<Waiting>,
    /// Which order the hand has.
    asked: Option<OrderId>,
    results: Vec<OrderResult>,
    /// What a gate took, and when.
    sent: HashMap<OrderId, Instant>,
}

struct Shared {
    client: Client,
    dir: PathBuf,
    state: Mutex<State>,
    /// Somebody may poll, an order waits, a result waits.
    may_poll: Notify,
    order_waits: Notify,
    result_waits: Notify,
}

impl Orders {
    /// Starts the tasks. They do nothing before [`look`](Self::look) and [`reached`](Self::reached).
    pub fn start(client: Client, dir: &Path, hand: HandSettings, clock: Clock) -> Self {
        let results = load(&dir.join(FILE));
        let state = Mutex::new(State { results, ..State::default() });
        let shared = Arc::new(Shared {
            client,
            dir: dir.to_owned(),
            state,
            may_poll: Notify::new(),
            order_waits: Notify::new(),
            result_waits: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        let (polling, working, sending) = (shared.clone(), shared.clone(), shared.clone());
        let reach = Reach::new(hand.place, hand.conf.clone(), clock);
        tasks.spawn(async move { polling.poll().await });
        tasks.spawn(async move { working.work(reach).await });
        tasks.spawn(async move { sending.send().await });
        Self { shared, conf: hand.conf, told: None, _tasks: tasks }
    }

    /// Looks whether the host's owner lets orders be carried out: this boot's id, and the kinds.
    pub fn look(&mut self) -> Option<(String, Vec<String>)> {
        let (allowed, told) = match crate::reach::allowed(&self.conf) {
            Ok((boot, kinds)) => {
                (Some((boot, kinds.clone())), format!("this host takes orders: {}", kinds.join(", ")))
            }
            Err(why) => (None, why),
        };
        if self.told.as_ref() != Some(&told) {
            // That there is no such file is the rule, and nothing to tell.
            if allowed.is_some() || self.conf.exists() {
                tracing::info!("{told}");
            }
            self.told = Some(told);
        }
        self.shared.state().opted = allowed.is_some();
        self.shared.may_poll.notify_one();
        allowed
    }

    /// Which gate serves, and as whom this agent is known to it.
    pub fn reached(&self, url: &str, credential: &Secret, server: Option<&str>) {
        let mut state = self.shared.state();
        state.gate = Some(Gate { url: url.to_owned(), credential: credential.clone() });
        state.server = server.unwrap_or_default().to_owned();
        drop(state);
        self.shared.may_poll.notify_one();
        self.shared.result_waits.notify_one();
    }

    /// Takes in the orders of a bulletin that answered a beat.
    pub fn take(&self, orders: &[SignedOrder], now: Millis) {
        self.shared.take(orders, now);
    }
}

impl State {
    fn has(&self, id: OrderId) -> bool {
        self.asked == Some(id)
            || self.sent.contains_key(&id)
            || self.waiting.iter().any(|waiting| waiting.id == id)
            || self.results.iter().any(|result| result.order == id.to_string())
    }

    /// The orders that a gate need not bring.
    fn have(&mut self) -> String {
        self.sent.retain(|_, at| at.elapsed() < REMEMBERED);
        let waiting = self.waiting.iter().map(|waiting| waiting.id.to_string());
        let results = self.results.iter().map(|result| result.order.clone());
        let sent = self.sent.keys().map(OrderId::to_string);
        let asked = self.asked.iter().map(OrderId::to_string);
        let all: Vec<String> = asked.chain(waiting).chain(results).chain(sent).take(MOST_WAITING).collect();
        all.join(",")
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what is new. Answers whether anything is.
    fn take(&self, orders: &[SignedOrder], now: Millis) -> bool {
        let mut state = self.state();
        state.sent.retain(|_, at| at.elapsed() < REMEMBERED);
        let mut some = false;
        for order in orders {
            let Some(id) = order::id_of(order) else {
                tracing::debug!("a gate brought an order that does not say which it is");
                continue;
            };
            if !state.has(id) && state.waiting.len() < MOST_WAITING {
                state.waiting.push_back(Waiting { id, order: order.clone(), now, came: Instant::now() });
                some = true;
            }
        }
        drop(state);
        if some {
            self.order_waits.notify_one();
        }
        some
    }

    /// Holds a request at the gate, for as long as the host takes orders.
    async fn poll(&self) {
        let mut backoff = Backoff::new(APART);
        loop {
            let ready = {
                let mut state = self.state();
                let have = state.have();
                state.gate.clone().filter(|_| state.opted).map(|gate| (gate, have))
            };
            let Some((gate, have)) = ready else {
                self.may_poll.notified().await;
                continue;
            };
            let wait = match self.poll_once(&gate, &have, &mut backoff).await {
                Ok(wait) => wait,
                Err((why, wait)) => {
                    tracing::debug!("cannot wait for orders: {why}");
                    wait.unwrap_or_else(|| backoff.failed(None, crate::random()))
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// One held request: how long to wait before the next, or why it failed.
    async fn poll_once(
        &self,
        gate: &Gate,
        have: &str,
        backoff: &mut Backoff,
    ) -> Result<Duration, (String, Option<Duration>)> {
        let begun = Instant::now();
        let url = format!("{}{BULLETIN}?wait_ms={}&have={have}", gate.url, HELD.as_millis());
        let request = self.client.get(url).bearer_auth(gate.credential.expose());
        let (answer, text) = ask(request, HELD + PATIENCE).await.map_err(|none| (none.why, None))?;
        match answer.status {
            200 => {
                let bulletin: Bulletin =
                    serde_json::from_slice(&text).map_err(|error| (error.to_string(), None))?;
                backoff.reset();
                if self.take(&bulletin.orders, bulletin.now) {
                    return Ok(Duration::ZERO);
                }
                Ok(APART.saturating_sub(begun.elapsed()))
            }
            204 => Ok(answer.retry_after.unwrap_or(HELD).max(APART)),
            404 | 405 => Err(("this gate knows no orders".to_owned(), Some(OLDER_GATE))),
            status => Err((format!("answered {status}"), None)),
        }
    }

    /// Gives one order after the other to the hand.
    async fn work(&self, mut reach: Reach) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.waiting.pop_front();
                state.asked = next.as_ref().map(|waiting| waiting.id);
                next.map(|waiting| (waiting, state.server.clone()))
            };
            let Some((Waiting { id, order, now, came }, server)) = next else {
                self.order_waits.notified().await;
                continue;
            };
            let result = reach.carry_out(id, Request { order, now, came, server }).await;
            tracing::info!(
                order = result.order,
                state = result.state,
                code = result.code,
                "an order has a result"
            );
            let mut state = self.state();
            state.asked = None;
            state.results.push(result);
            let excess = state.results.len().saturating_sub(MOST);
            state.results.drain(..excess);
            self.save(&state);
            drop(state);
            self.result_waits.notify_one();
        }
    }

    /// Sends what became of orders until a gate has it.
    async fn send(&self) {
        let mut backoff = Backoff::new(APART);
        loop {
            let ready = {
                let state = self.state();
                let results: Vec<_> = state.results.iter().take(MAX_RESULTS).cloned().collect();
                state.gate.clone().filter(|_| !results.is_empty()).map(|gate| (gate, Results { results }))
            };
            let Some((gate, results)) = ready else {
                self.result_waits.notified().await;
                continue;
            };
            match self.send_once(&gate, &results).await {
                Ok(()) => backoff.reset(),
                Err((why, wait)) => {
                    tracing::debug!("what became of orders is kept: {why}");
                    tokio::time::sleep(wait.unwrap_or_else(|| backoff.failed(None, crate::random()))).await;
                }
            }
        }
    }

    async fn send_once(&self, gate: &Gate, results: &Results) -> Result<(), (String, Option<Duration>)> {
        let body = serde_json::to_vec(results).map_err(|error| (error.to_string(), None))?;
        let request =
            self.client.post(format!("{}{RESULTS}", gate.url)).bearer_auth(gate.credential.expose());
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        let (answer, text) = ask(request, PATIENCE).await.map_err(|none| (none.why, None))?;
        let problem = crate::answer::problem(&text);
        match answer.status {
            202 => {
                let accepted: Accepted =
                    serde_json::from_slice(&text).map_err(|error| (error.to_string(), None))?;
                self.forget(results);
                self.take(&accepted.bulletin.orders, accepted.bulletin.now);
                Ok(())
            }
            404 | 405 => Err(("this gate knows no orders".to_owned(), Some(OLDER_GATE))),
            // Only a gate says so for good, and it shows that it is one by its clock.
            status @ (400 | 413 | 422) if problem.now.is_some() => {
                tracing::error!(
                    "the suite refuses for good what became of orders: {status} {}",
                    said(&problem)
                );
                self.forget(results);
                Ok(())
            }
            status => Err((format!("answered {status} {}", said(&problem)), answer.retry_after)),
        }
    }

    /// A gate has these.
    fn forget(&self, taken: &Results) {
        let mut state = self.state();
        state.results.retain(|result| !taken.results.contains(result));
        for result in &taken.results {
            if let Ok(id) = result.order.parse() {
                state.sent.insert(id, Instant::now());
            }
        }
        self.save(&state);
    }

    /// A disk that takes nothing leaves them in memory.
    fn save(&self, state: &State) {
        let written = serde_json::to_vec(&state.results)
            .map_err(std::io::Error::from)
            .and_then(|text| files::replace(&self.dir.join(FILE), &text));
        if let Err(error) = written {
            tracing::error!(%error, "cannot write {FILE}: what became of orders is in memory alone");
        }
    }
}

/// What an earlier run kept. Garbage is as good as nothing: the hand's journal has it all, and is asked again.
fn load(path: &Path) -> Vec<OrderResult> {
    fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// The gate's clock, some time after it told it.
pub(crate) fn gate_now(now: Millis, came: Instant) -> Millis {
    now.saturating_add(millis(came.elapsed()))
}
