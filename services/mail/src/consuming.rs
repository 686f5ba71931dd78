//! From the queue to the outcome in the row: claim, write, send, settle, ack.

use std::{sync::Arc, time::Duration};

use chassis::{Clock, Trouble};
use fleet::{
    Millis, Recipient, Subject,
    id::{NotificationId, ReportId},
};
use queue::Consumer;
use registry::{Attempt, Delivery, Registry, RegistryError, Report, ReportRow};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    AT_ONCE, Letterhead, Sender,
    alert::Alert,
    attempt::{Ending, Stage, judge},
    instruments,
    letter::{self, BadLetter, Letter},
    render::Told,
};

type Job = queue::Delivery<fleet::MailJob>;

/// How long the mails on their way may take once this process is asked to stop; less than the process as a whole has.
const GRACE: Duration = Duration::from_secs(15);

/// How long to wait before the registry is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// A claim that is older than this was made by a process that is gone: a conversation ends after ten minutes.
const STALE: Millis = 15 * 60_000;

/// How often to look for stale claims.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// When a mail is tried again that a later release has to write: until then one may have taken over.
const LATER: Millis = 60_000;

/// Rows of a report in one statement.
const ROWS: u32 = 5_000;

/// What all deliveries share.
#[derive(Clone)]
pub struct Post(Arc<Shared>);

struct Shared {
    registry: Registry,
    sender: Sender,
    letterhead: Letterhead,
    clock: Clock,
    /// Logs that the registry is away, and that it is back, once each.
    registry_trouble: Trouble,
    /// The same of the SMTP server: it counts as away while it does not get as far as taking an envelope.
    sender_trouble: Trouble,
}

impl Post {
    pub fn new(registry: Registry, sender: Sender, letterhead: Letterhead, clock: Clock) -> Self {
        let registry_trouble = Trouble::new("the registry");
        let sender_trouble = Trouble::new("sending mail");
        Self(Arc::new(Shared { registry, sender, letterhead, clock, registry_trouble, sender_trouble }))
    }
}

pub async fn run(mut consumer: Consumer<fleet::MailJob>, post: Post, shutdown: CancellationToken) {
    let (mut sending, give_up) = (JoinSet::new(), CancellationToken::new());
    let mut sweep = interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let free = usize::from(AT_ONCE) - sending.len();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = sending.join_next() => {}
            _ = sweep.tick() => post.0.give_up_stale().await,
            jobs = consumer.receive(free), if free > 0 => {
                let Some(jobs) = jobs else { break };
                for job in jobs {
                    let (post, shutdown, give_up) = (post.clone(), shutdown.clone(), give_up.clone());
                    sending.spawn(async move { post.0.settle(job, &shutdown, &give_up).await });
                }
            }
        }
    }
    let grace = async {
        sleep(GRACE).await;
        give_up.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = async { while sending.join_next().await.is_some() {} } => {}
        () = grace => {}
    }
    consumer.close().await;
}

impl Shared {
    /// Sends the delivery that the job names, if it is still to be sent, and acks the job once the outcome is
    /// written. If `shutdown` comes before the claim, the job returns to the queue.
    async fn settle(&self, job: Job, shutdown: &CancellationToken, give_up: &CancellationToken) {
        let id = job.message().delivery;
        let message_id = letter::message_id(id, &self.letterhead.from);
        let claim = || self.registry.claim_delivery(id, &message_id, self.clock.now());
        // Nothing is claimed yet, so on a stop the job is left to other processes.
        let Some(claimed) = shutdown.run_until_cancelled(self.until_done(claim)).await else { return };
        let Some(delivery) = claimed else { return job.ack().await };
        let attempt = self.attempt(&delivery, &message_id, give_up).await;
        instruments::attempted(&attempt);
        let write = || self.registry.settle_delivery(&delivery, &attempt, self.clock.now());
        // A row that stays claimed becomes `unknown` later. That may be less than is known here, but no second copy
        // is sent.
        let bound = async {
            give_up.cancelled().await;
            sleep(Duration::from_secs(3)).await;
        };
        tokio::select! {
            _ = self.until_done(write) => {}
            () = bound => tracing::error!(%id, ?attempt, "the outcome of a mail could not be written"),
        }
        tell(&delivery, &attempt);
        job.ack().await;
    }

    async fn attempt(&self, delivery: &Delivery, message_id: &str, give_up: &CancellationToken) -> Attempt {
        let to: Recipient = match delivery.recipient.parse() {
            Ok(to) if self.letterhead.allowed.allow(&to) => to,
            Ok(_) => {
                return Attempt::Failed("its domain is not allowed; see MAIL_ALLOWED_DOMAINS".to_owned());
            }
            Err(error) => return Attempt::Failed(format!("the address {error}")),
        };
        let written = match &delivery.about {
            Subject::Report(id) => self.report(*id, message_id, to, give_up).await,
            Subject::Notification(id) => self.alert(*id, message_id, to, give_up).await,
            // Nothing was sent, and a later release can.
            Subject::Other { kind, .. } => {
                let reason = format!("this release knows no mails about {kind}; upgrade mail");
                Err(Attempt::Again(reason, self.clock.now() + LATER))
            }
        };
        let letter = match written {
            Ok(letter) => letter,
            Err(attempt) => return attempt,
        };
        match self.sender.send(delivery.id, &letter, give_up).await {
            Ok(()) => {
                self.sender_trouble.end();
                match &self.sender {
                    Sender::Smtp(..) => Attempt::Sent,
                    Sender::Folder(_) => Attempt::Written,
                }
            }
            Err((stage, ending)) => {
                if stage == Stage::Greeting {
                    let (Ending::Transient(reason) | Ending::Permanent(reason) | Ending::Lost(reason)) =
                        &ending;
                    self.sender_trouble.begin(reason);
                }
                judge(stage, ending, delivery.attempts, self.clock.now())
            }
        }
    }

    /// The letter of a report. An error: without it the attempt ends so.
    async fn report(
        &self,
        id: ReportId,
        message_id: &str,
        to: Recipient,
        give_up: &CancellationToken,
    ) -> Result<Letter, Attempt> {
        let read = self.until_done(|| self.read(id));
        let Some(read) = give_up.run_until_cancelled(read).await else {
            return Err(Attempt::Again("the registry did not answer".to_owned(), self.clock.now()));
        };
        let Some((report, rows)) = read else { return Err(Attempt::Failed("its report is gone".to_owned())) };
        self.write(report, rows, message_id, to).await.map_err(Attempt::Failed)
    }

    /// The letter of a message about incidents.
    async fn alert(
        &self,
        id: NotificationId,
        message_id: &str,
        to: Recipient,
        give_up: &CancellationToken,
    ) -> Result<Letter, Attempt> {
        let read = self.until_done(|| self.registry.message_by_mail(id));
        let Some(read) = give_up.run_until_cancelled(read).await else {
            return Err(Attempt::Again("the registry did not answer".to_owned(), self.clock.now()));
        };
        let Some((channel, kind, items)) = read else {
            return Err(Attempt::Failed("what it was to tell is over, or its channel is gone".to_owned()));
        };
        let alert = Alert::new(&channel, kind, &items, self.letterhead.url.as_deref());
        let written = letter::write_alert(&alert, message_id, &self.letterhead.from, &to, self.clock.now());
        written.map_err(|error| Attempt::Failed(error.to_string()))
    }

    async fn read(&self, id: ReportId) -> Result<Option<(Report, Vec<ReportRow>)>, RegistryError> {
        let Some((report, _)) = self.registry.report(id).await? else { return Ok(None) };
        let mut rows = Vec::new();
        loop {
            let place = u32::try_from(rows.len()).unwrap_or(u32::MAX);
            let part = self.registry.report_rows(id, place, ROWS).await?;
            if part.is_empty() {
                return Ok(Some((report, rows)));
            }
            rows.extend(part);
        }
    }

    /// Writes the letter on a thread that may block.
    async fn write(
        &self,
        report: Report,
        rows: Vec<ReportRow>,
        message_id: &str,
        to: Recipient,
    ) -> Result<Letter, String> {
        let (from, now, message_id) = (self.letterhead.from.clone(), self.clock.now(), message_id.to_owned());
        let url = self.letterhead.url.clone();
        let work = move || {
            let told = Told::new(&report, &rows).linked(url.as_deref());
            letter::write(&told, &message_id, &from, &to, now)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(written) => written.map_err(|error: BadLetter| error.to_string()),
            Err(_) => Err("the mail cannot be put together".to_owned()),
        }
    }

    /// Asks the registry until it answers.
    async fn until_done<T, F: Future<Output = Result<T, RegistryError>>>(
        &self,
        mut ask: impl FnMut() -> F,
    ) -> T {
        loop {
            if let Some(answer) = self.registry_trouble.watch(ask().await) {
                return answer;
            }
            sleep(AGAIN).await;
        }
    }

    async fn give_up_stale(&self) {
        let now = self.clock.now();
        let given_up = self.registry.give_up_deliveries(now - STALE, now).await;
        if let Some(count @ 1..) = self.registry_trouble.watch(given_up) {
            tracing::warn!(count, "mails whose sender ended are unknown: they may have been sent");
        }
    }
}

fn tell(delivery: &Delivery, attempt: &Attempt) {
    let Delivery { id, about, attempts, .. } = delivery;
    let about = format!("{} {}", about.kind(), about.id());
    match attempt {
        Attempt::Sent => tracing::info!(%id, about, attempts, "a mail is sent"),
        Attempt::Written => {
            tracing::info!(%id, about, attempts, "a mail is a file in the outbox, and sent to nobody");
        }
        Attempt::Again(reason, _) => tracing::debug!(%id, about, attempts, reason, "a mail is tried again"),
        Attempt::Failed(reason) => tracing::warn!(%id, about, attempts, reason, "a mail failed"),
        Attempt::Unknown(reason) => {
            tracing::warn!(%id, about, attempts, reason, "a mail may have been sent; it is not sent again");
        }
    }
}
