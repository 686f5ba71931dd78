//! Mail as a process, between a real broker and a real registry, killed where it hurts most.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use fleet::{
    MailJob, Subject,
    id::{DeliveryId, ReportId},
};
use queue::rabbitmq;
use registry::{Actor, DeliveryState, NewReport, PeriodIncidents, Registry};
use sqlx::{Connection, PgConnection};
use testkit::{Server as On, Servers, eventually};

use crate::{post::NOW, server::Server};

/// A schema and queues of its own.
struct Fleet {
    registry: Registry,
    servers: Servers,
}

impl Fleet {
    async fn make() -> Self {
        let servers = Servers::of(&[On::RabbitMq, On::PostgreSql]).await;
        let registry = Registry::open_postgres(&servers.postgresql().direct.parse().unwrap());
        registry.migrate().await.unwrap();
        Self { registry, servers }
    }

    fn amqp_url(&self) -> &str {
        &self.servers.rabbitmq().direct
    }

    fn database_url(&self) -> &str {
        &self.servers.postgresql().direct
    }

    fn queue(&self) -> rabbitmq::Settings {
        rabbitmq::Settings::new(self.amqp_url().parse().unwrap(), self.servers.prefix(), "mail")
    }

    fn start(&self, server: &Server) -> Process {
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mail"));
        command
            .env_clear()
            .env("AMQP_URL", self.amqp_url())
            .env("DATABASE_URL", self.database_url())
            .env("SMTP_URL", server.url())
            .env("MAIL_FROM", "rollcall@example.com")
            .env("MAIL_ALLOWED_DOMAINS", "example.org")
            .env("ROLLCALL_PREFIX", self.servers.prefix())
            .env("LISTEN", listen.to_string())
            .env("DRAIN_SECONDS", "0");
        Process(command.stdout(Stdio::null()).spawn().unwrap())
    }

    async fn state(&self, report: ReportId) -> DeliveryState {
        self.registry.report(report).await.unwrap().unwrap().1[0].state
    }
}

/// Killed with -9 when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_file_of_authorities_that_holds_none_is_told_at_start_with_all_else() {
    let folder = testkit::tempdir().unwrap();
    let file = folder.path().join("authorities.pem");
    let of = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mail"));
        let output = command.env_clear().env("SMTP_CA_FILE", &file).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, wanted) in [("", "holds no certificate"), (damaged, "cannot be read")] {
        let told = of(text);
        assert!(told.contains("SMTP_CA_FILE: ") && told.contains(wanted), "{told}");
        for other in ["SMTP_URL", "MAIL_FROM", "MAIL_ALLOWED_DOMAINS", "AMQP_URL"] {
            assert!(told.contains(&format!("{other}: is not set")), "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redrive_sends_dead_letters_through_again_and_needs_the_broker_alone() {
    let (server, fleet) = (Server::start().await, Fleet::make().await);
    let stranger = rabbitmq::publisher::<&str>(&fleet.queue());
    stranger.reached().await;
    for letter in ["no job", "nor this"] {
        stranger.publish(letter).await.unwrap();
    }
    let dead = async || rabbitmq::dead_letters(&fleet.queue()).await.unwrap();
    let process = fleet.start(&server);
    eventually("both are dead", async || dead().await == 2).await;
    drop(process);
    let redrive = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mail"));
        command.env_clear().env("AMQP_URL", url).env("ROLLCALL_PREFIX", fleet.servers.prefix());
        command.arg("redrive").output().unwrap()
    };
    let output = redrive(fleet.amqp_url());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"2 dead letters went through the queue again\n");
    eventually("they are back in the queue", async || dead().await == 0).await;
    // The process cannot read them, and sends them to the dead letters again.
    let process = fleet.start(&server);
    eventually("both are dead again", async || dead().await == 2).await;
    let output = redrive("amqp://guest:guest@127.0.0.1:1/%2f");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && told.contains("mail redrive: ") && told.contains("nothing was moved"),
        "{told}"
    );
    drop((process, stranger));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_between_the_final_dot_and_the_answer_leaves_one_copy_and_no_second() {
    let (server, fleet) = (Server::start().await, Fleet::make().await);
    let mut reports = Vec::new();
    for (number, name) in [(1, "stall-after"), (2, "ops")] {
        let delivery = DeliveryId::new(NOW, [number; 10]);
        let report = NewReport {
            id: ReportId::new(NOW, [number; 10]),
            from: NOW - 1_000,
            to: NOW,
            time_zone: "UTC".to_owned(),
            filter: "{}".to_owned(),
            format: "xlsx".to_owned(),
            language: "en".to_owned(),
            recipients: vec![(delivery, format!("{name}@example.org"))],
        };
        fleet.registry.make_report(&report, None, &Actor::system(), NOW).await.unwrap();
        fleet.registry.finish_report(report.id, &[], &PeriodIncidents::default(), NOW).await.unwrap();
        reports.push((report.id, MailJob { delivery, about: Some(Subject::Report(report.id)) }));
    }
    let publisher = rabbitmq::publisher(&fleet.queue());
    publisher.reached().await;
    let first = fleet.start(&server);
    publisher.publish(reports[0].1.clone()).await.unwrap();
    eventually("the server has the mail", async || server.taken("stall-after").len() == 1).await;
    drop(first);

    // The broker delivers the job to the next process, which does not send it: it is claimed.
    let second = fleet.start(&server);
    publisher.publish(reports[1].1.clone()).await.unwrap();
    eventually("the next one is sent", async || fleet.state(reports[1].0).await == DeliveryState::Sent).await;
    assert_eq!(fleet.state(reports[0].0).await, DeliveryState::Sending);
    drop(second);

    // Twenty minutes later the claim is stale.
    let mut database = PgConnection::connect(fleet.database_url()).await.unwrap();
    let older = "UPDATE deliveries SET updated_at = updated_at - 1200000 WHERE state = 'sending'";
    sqlx::query(older).execute(&mut database).await.unwrap();
    drop(database);
    let third = fleet.start(&server);
    let unknown = async || fleet.state(reports[0].0).await == DeliveryState::Unknown;
    eventually("it is unknown", unknown).await;
    publisher.publish(reports[0].1.clone()).await.unwrap();
    drop(third);
    assert_eq!((server.taken("stall-after").len(), server.taken("ops").len()), (1, 1));
}
