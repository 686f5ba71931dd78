//! Mail in this process over a registry of its own, with one report to be sent.

use std::hash::{BuildHasher, RandomState};

use chassis::Clock;
use fleet::{
    AllowedDomains, MailJob, Millis, ServerId, Status, Subject,
    id::{DeliveryId, ReportId},
};
use mail::{Letterhead, Mail, Sender};
use queue::{Publisher, in_process};
use registry::{Actor, Delivery, DeliveryState, NewReport, PeriodIncidents, Registry, ReportRow};
use testkit::{TempDir, eventually, tempdir};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const NOW: Millis = 1_790_000_000_000;
pub const MINUTE: Millis = 60_000;
const DAY: Millis = 86_400_000;

pub struct Post {
    pub registry: Registry,
    pub clock: Clock,
    pub folder: TempDir,
    pub deliveries: Vec<DeliveryId>,
    pub report: ReportId,
    publisher: Publisher<MailJob>,
    mail: JoinHandle<()>,
    stop: CancellationToken,
}

impl Post {
    /// With a delivery to each of these local parts.
    pub async fn new(sender: Sender, names: &[&str]) -> Self {
        Self::with(sender, names, &rows()).await
    }

    /// The same, of a report that is some megabytes, however it is packed.
    pub async fn large(sender: Sender, names: &[&str]) -> Self {
        let row = |number: u8| {
            let noise = (0..1_000).map(|_| format!("{:016x}", RandomState::new().hash_one(0)));
            let server = ServerId::new(NOW, [number; 10]);
            ReportRow { server, name: noise.collect(), ..rows().remove(1) }
        };
        let rows: Vec<_> = (0..200).map(row).collect();
        Self::with(sender, names, &rows).await
    }

    async fn with(sender: Sender, names: &[&str], rows: &[ReportRow]) -> Self {
        let folder = tempdir().unwrap();
        let registry = Registry::open_sqlite(&folder.path().join("registry.db")).await.unwrap();
        registry.migrate().await.unwrap();
        let clock = Clock::fixed(NOW);
        let address =
            |(place, name): (u8, &&str)| (DeliveryId::new(NOW, [place; 10]), format!("{name}@example.org"));
        let recipients: Vec<_> = (1..).zip(names).map(address).collect();
        let deliveries = recipients.iter().map(|(id, _)| *id).collect();
        let report = ReportId::new(NOW, [0; 10]);
        let asked = NewReport {
            id: report,
            from: NOW - DAY,
            to: NOW,
            time_zone: "Europe/Berlin".to_owned(),
            filter: "{}".to_owned(),
            format: "xlsx".to_owned(),
            language: "en".to_owned(),
            recipients,
        };
        registry.make_report(&asked, None, &Actor::system(), NOW).await.unwrap();
        registry.finish_report(report, rows, &PeriodIncidents::default(), NOW).await.unwrap();
        let (publisher, mail, stop) = start(&registry, &clock, sender);
        Self { registry, clock, folder, deliveries, report, publisher, mail, stop }
    }

    /// The process ends at this moment, and another one starts.
    pub async fn kill(&mut self, sender: Sender) {
        self.mail.abort();
        (self.publisher, self.mail, self.stop) = start(&self.registry, &self.clock, sender);
    }

    /// Does what no method does.
    pub async fn execute(&self, sql: &'static str) {
        let file = format!("sqlite://{}", self.folder.path().join("registry.db").display());
        let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&file).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }

    /// What the relay does.
    pub fn publish(&self, place: usize) {
        self.bring(MailJob { delivery: self.deliveries[place], about: Some(Subject::Report(self.report)) });
    }

    /// Brings a job to the queue.
    pub fn bring(&self, job: MailJob) {
        let publisher = self.publisher.clone();
        tokio::spawn(async move { drop(publisher.publish(job).await) });
    }

    pub async fn delivery(&self, place: usize) -> Delivery {
        self.registry.report(self.report).await.unwrap().unwrap().1.remove(place)
    }

    /// Waits until the delivery is in this state after so many attempts.
    pub async fn until(&self, place: usize, state: DeliveryState, attempts: u32) -> Delivery {
        eventually(&format!("{state:?} after {attempts}"), async || {
            let delivery = self.delivery(place).await;
            delivery.state == state && delivery.attempts == attempts
        })
        .await;
        self.delivery(place).await
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.mail.await.unwrap();
    }
}

fn start(
    registry: &Registry,
    clock: &Clock,
    sender: Sender,
) -> (Publisher<MailJob>, JoinHandle<()>, CancellationToken) {
    let (publisher, consumer) = in_process(1_000, |_| 1);
    let allowed: AllowedDomains = "example.org".parse().unwrap();
    let letterhead = Letterhead { from: "rollcall@example.com".parse().unwrap(), allowed, url: None };
    let mail = Mail::new(consumer, registry.clone(), sender, letterhead, clock.clone());
    let stop = CancellationToken::new();
    (publisher, tokio::spawn(mail.run(stop.clone())), stop)
}

fn rows() -> Vec<ReportRow> {
    let row = |number: u8, name: &str, status, covered_ms, longest_outage| ReportRow {
        server: ServerId::new(NOW, [number; 10]),
        name: name.to_owned(),
        status,
        covered_ms,
        expected_ms: DAY,
        longest_outage,
        incidents: u64::from(number),
        longest_incident_ms: longest_outage.map(|(_, length)| length + 1),
        resolved_in_ms: longest_outage.map(|(_, length)| length - 1),
    };
    let out = |from: Millis, length| Some((NOW - from, length));
    vec![
        row(1, "<b>evil</b>\r\n.\r\nBcc: x@example.org", Status::Up, DAY, None),
        row(2, "web-1", Status::Down, DAY - 3_600_000, out(3_600_000, 3_600_000)),
        row(3, "web-2", Status::Up, DAY - 45_000, out(9_000_000, 30_000)),
        row(4, "Datenbank-München", Status::Paused, DAY, None),
        row(5, "new", Status::Unknown, 0, None),
    ]
}
