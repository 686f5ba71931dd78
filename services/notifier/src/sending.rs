//! From the registry to the outcome in its rows: claim, write, send, settle.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chassis::{Clock, Trouble, random};
use fleet::{
    Millis, Zone,
    alert::{
        channel::Kind,
        message::Manner,
        request::{Content, Message, request},
        verdict::{self, Verdict},
    },
};
use registry::{Claim, ClaimedMessage, NotificationKind, Registry};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Sender, Settings, heartbeat, instruments};

/// Messages that one process sends at once.
const AT_ONCE: usize = 32;

/// How often to look whether there is something to tell.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often to look for messages whose sender is gone, and to count.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// For how long a place is nobody else's. What is being sent for longer becomes unknown.
const LEASE: Millis = 60_000;

/// Older than this nothing is sent that was claimed: the process may have stood still meanwhile.
const OLDEST: Duration = Duration::from_secs(10);

/// How long to wait before the registry is asked again, and for how long an outcome is kept that it does not take.
const AGAIN: Duration = Duration::from_millis(500);
const KEEP_OUTCOME: Duration = Duration::from_secs(45);

/// How long messages on their way may take once this process is asked to stop.
const GRACE: Duration = Duration::from_secs(15);

/// What all messages share.
#[derive(Clone)]
pub(crate) struct Post(Arc<Shared>);

struct Shared {
    registry: Registry,
    sender: Sender,
    settings: Settings,
    clock: Clock,
    /// The places that this process is busy with.
    busy: Mutex<HashSet<String>>,
    /// Logs that the registry is away, and that it is back, once each.
    trouble: Trouble,
}

impl Post {
    pub fn new(registry: Registry, sender: Sender, settings: Settings, clock: Clock) -> Self {
        let trouble = Trouble::new("the registry");
        Self(Arc::new(Shared { registry, sender, settings, clock, busy: Mutex::default(), trouble }))
    }
}

pub(crate) async fn run(post: Post, shutdown: CancellationToken) {
    let shared = &post.0;
    let mut sending = JoinSet::new();
    let beating = {
        let (post, stop) = (post.clone(), shutdown.clone());
        tokio::spawn(async move { stop.run_until_cancelled(post.0.beat()).await })
    };
    let mut look = interval(LOOK_EVERY / shared.settings.scale.max(1));
    let mut sweep = interval(SWEEP_EVERY / shared.settings.scale.max(1));
    for due in [&mut look, &mut sweep] {
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = sending.join_next() => {}
            _ = sweep.tick() => shared.sweep().await,
            _ = look.tick(), if sending.len() < AT_ONCE => {
                for place in shared.places(AT_ONCE - sending.len()).await {
                    let post = post.clone();
                    sending.spawn(async move { post.0.tell(place).await });
                }
            }
        }
    }
    drop(beating.await);
    let ended = timeout(GRACE, async { while sending.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!("messages were on their way when this process had to end; they will be unknown");
    }
}

impl Shared {
    /// All times of the table, as short as they are here.
    fn scaled(&self, millis: Millis) -> Millis {
        millis / Millis::from(self.settings.scale.max(1))
    }

    /// Places that something waits for, and that this process is not busy with; they are its own from here on.
    async fn places(&self, most: usize) -> Vec<String> {
        let asked = u32::try_from(most).unwrap_or(u32::MAX);
        let places = self.trouble.watch(self.registry.places_to_tell(asked, self.clock.now()).await);
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        places.unwrap_or_default().into_iter().filter(|place| busy.insert(place.clone())).collect()
    }

    /// Calls whoever watches the watcher, while all is well.
    async fn beat(&self) {
        let Some(url) = &self.settings.heartbeat else { return };
        heartbeat::run(url, &self.registry, &self.sender, &self.clock, self.settings.scale.max(1)).await;
    }

    async fn sweep(&self) {
        let now = self.clock.now();
        let given_up = self.registry.give_up_messages(now - self.scaled(LEASE), now).await;
        if let Some(count @ 1..) = self.trouble.watch(given_up) {
            tracing::warn!(count, "messages whose sender ended are unknown: they may have been sent");
        }
        if let Some((queued, _)) = self.trouble.watch(self.registry.notification_counts().await) {
            instruments::waiting(queued);
        }
    }

    async fn tell(&self, place: String) {
        self.tell_at(&place).await;
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
    }

    async fn tell_at(&self, place: &str) {
        // Before the claim: from here on its age is counted, whatever clocks say.
        let begun = Instant::now();
        let name =
            format!("msg_{}", random::<16>().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let claim = Claim {
            name: &name,
            lease: self.scaled(LEASE),
            spacing,
            scale: Millis::from(self.settings.scale.max(1)),
        };
        let claimed = self.registry.claim_message(place, &claim, self.clock.now()).await;
        let Some(Some(message)) = self.trouble.watch(claimed) else { return };
        let verdict = self.send(&message, begun).await;
        instruments::sent(message.channel.kind(), &verdict);
        tell(&message, &verdict);
        let wait = match &verdict {
            Verdict::NotSent(_) => verdict::pause(message.attempts),
            Verdict::Blocked { wait, .. } => *wait,
            Verdict::Sent { pause } => pause.unwrap_or(0),
            Verdict::Failed { .. } | Verdict::Unknown(_) => 0,
        };
        self.settle(&message, &verdict, self.scaled(wait)).await;
    }

    /// Until the registry takes it, or the message is given up in any case.
    async fn settle(&self, message: &ClaimedMessage, verdict: &Verdict, wait: Millis) {
        let begun = Instant::now();
        while begun.elapsed() < KEEP_OUTCOME / self.settings.scale.max(1) {
            let settled = self.registry.settle_message(message, verdict, wait, self.clock.now()).await;
            if self.trouble.watch(settled).is_some() {
                return;
            }
            sleep(AGAIN / self.settings.scale.max(1)).await;
        }
        tracing::error!(message = message.claim, ?verdict, "the outcome of a message could not be written");
    }

    async fn send(&self, message: &ClaimedMessage, begun: Instant) -> Verdict {
        let channel = &message.channel;
        let failed = |reason: String| Verdict::Failed { reason, disables: false };
        let Some(sealed) = &channel.secret else {
            return failed("the channel has no secret; set it".to_owned());
        };
        let secret = match self.settings.keys.open(channel.id, channel.kind(), sealed) {
            Ok(secret) => secret,
            Err(error) => return failed(error.to_string()),
        };
        let content = match message.kind {
            NotificationKind::Incidents => Content::Incidents(&message.items),
            NotificationKind::Test => Content::Test(&channel.name),
        };
        let manner = Manner {
            language: channel.language,
            // By a zone that only a newer database knows: in UTC.
            zone: channel.time_zone.parse().unwrap_or(Zone::UTC),
            template: channel.template.as_deref(),
            url: self.settings.url.as_deref(),
        };
        let told = Message { id: &message.claim, at: self.clock.now(), content, manner };
        let asked = match request(&channel.config, &secret, self.sender.bases(), &told) {
            Ok(asked) => asked,
            Err(error) => return failed(error.to_string()),
        };
        // Whoever stood still since the claim may have been taken for dead.
        if begun.elapsed() > OLDEST / self.settings.scale.max(1) {
            return Verdict::NotSent("it took too long to begin".to_owned());
        }
        self.sender.send(channel.kind(), asked).await
    }
}

/// How far apart messages to one place are.
fn spacing(kind: Kind) -> Millis {
    match kind {
        // 15 a minute.
        Kind::Wecom | Kind::Telegram => 4_000,
        Kind::Slack => 2_000,
        Kind::Webhook => 100,
        // It says itself when it has enough.
        Kind::Discord | Kind::Mail => 0,
    }
}

fn tell(message: &ClaimedMessage, verdict: &Verdict) {
    let ClaimedMessage { claim, channel, rows, attempts, items, .. } = message;
    let (id, channel, kind, incidents) = (claim, &channel.name, channel.kind().as_str(), items.len());
    match verdict {
        Verdict::Sent { .. } => {
            tracing::info!(id, channel, kind, rows, incidents, attempts, "a message is sent");
        }
        Verdict::NotSent(reason) => {
            tracing::info!(id, channel, kind, attempts, reason, "a message was not sent, and is tried again");
        }
        Verdict::Blocked { wait, reason } => {
            tracing::info!(id, channel, kind, wait, reason, "a channel takes no messages for a while");
        }
        Verdict::Failed { reason, disables } => {
            tracing::warn!(id, channel, kind, incidents, reason, disables, "a message failed");
        }
        Verdict::Unknown(reason) => {
            tracing::warn!(
                id,
                channel,
                kind,
                incidents,
                reason,
                "a message may have been taken; it is not sent again"
            );
        }
    }
}
