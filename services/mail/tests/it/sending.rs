//! What becomes of a mail, by what the server does: at most one copy, and a state that is true.

use std::fs;

use fleet::{MailJob, Subject};
use mail::{Authorities, Sender};
use registry::DeliveryState::{self, Failed, Queued, Sending, Sent, Unknown, Written};
use testkit::eventually;

use crate::{
    post::{MINUTE, NOW, Post},
    server::Server,
};

fn over(server: &Server) -> Sender {
    Sender::Smtp(server.url().parse().unwrap(), Authorities::default())
}

/// A server, and what it did with the first attempt.
async fn first(name: &str, state: DeliveryState) -> (Server, Post) {
    let server = Server::start().await;
    let post = Post::new(over(&server), &[name]).await;
    post.publish(0);
    post.until(0, state, 1).await;
    (server, post)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_arrives_once_whole_and_under_the_id_of_its_delivery() {
    let (server, post) = first("ops", Sent).await;
    let delivery = post.delivery(0).await;
    assert_eq!((delivery.error, delivery.due_at), (None, None));
    // The job comes again, as from a broker that lost the ack.
    post.publish(0);
    post.publish(0);
    post.stop().await;
    let mut taken = server.taken("ops");
    assert_eq!(taken.len(), 1);
    let mail = taken.remove(0);
    let id = delivery.message_id.unwrap();
    assert_eq!(id, format!("<{}@example.com>", delivery.id));
    assert!(mail.lines().any(|line| line == format!("Message-ID: {id}")), "{mail}");
    assert!(
        mail.contains("Auto-Submitted: auto-generated") && !mail.lines().any(|line| line.starts_with("Bcc"))
    );
    if let Ok(keep) = std::env::var("MAIL_TEST_KEEP") {
        fs::write(keep, mail).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greylisted_mail_is_tried_again_when_it_is_due() {
    let (server, post) = first("greylisted", Queued).await;
    let delivery = post.delivery(0).await;
    assert_eq!(delivery.due_at, Some(NOW + MINUTE));
    assert!(delivery.error.unwrap().contains("greylisted"));
    for (attempt, state, pause) in [(2, Queued, Some(2 * MINUTE)), (3, Sent, None)] {
        post.clock.advance(2 * MINUTE);
        post.publish(0);
        let delivery = post.until(0, state, attempt).await;
        assert_eq!(delivery.due_at, pause.map(|pause| post.clock.now() + pause));
    }
    assert_eq!(server.taken("greylisted").len(), 1);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_shown_to_who_asked_and_not_tried_again() {
    for (name, reason) in [("refused", "no such user"), ("spam", "looks like spam")] {
        let (server, post) = first(name, Failed).await;
        assert!(post.delivery(0).await.error.unwrap().contains(reason));
        post.publish(0);
        post.stop().await;
        assert_eq!(server.taken(name), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transient_answer_to_the_final_dot_is_tried_again() {
    let (server, post) = first("full", Queued).await;
    post.publish(0);
    post.until(0, Sent, 2).await;
    assert_eq!(server.taken("full").len(), 1);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_before_the_final_dot_is_tried_again() {
    let (server, post) = first("drop-before", Queued).await;
    assert_eq!(server.taken("drop-before"), Vec::<String>::new());
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_after_the_final_dot_is_unknown_and_never_sent_again() {
    let (server, post) = first("drop-after", Unknown).await;
    post.publish(0);
    post.publish(0);
    post.stop().await;
    assert_eq!(server.taken("drop-after").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stalls_after_the_final_dot_holds_up_nobody_and_is_unknown_at_the_end() {
    let server = Server::start().await;
    let post = Post::new(over(&server), &["stall-after", "ops"]).await;
    post.publish(0);
    eventually("the server has the mail", async || server.taken("stall-after").len() == 1).await;
    post.publish(1);
    post.until(1, Sent, 1).await;
    let registry = post.registry.clone();
    let (deliveries, report) = (post.deliveries.clone(), post.report);
    post.stop().await;
    let found = registry.report(report).await.unwrap().unwrap().1;
    assert_eq!((found[0].id, found[0].state), (deliveries[0], Unknown));
    assert_eq!(server.taken("stall-after").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_whose_process_was_killed_is_unknown_after_a_while_and_has_one_copy() {
    let server = Server::start().await;
    let mut post = Post::new(over(&server), &["stall-after"]).await;
    post.publish(0);
    eventually("the server has the mail", async || server.taken("stall-after").len() == 1).await;
    post.until(0, Sending, 1).await;
    post.kill(over(&server)).await;
    // The broker delivers the job again, while the claim is not stale yet.
    post.publish(0);
    post.until(0, Sending, 1).await;
    post.clock.advance(16 * MINUTE);
    post.kill(over(&server)).await;
    post.until(0, Unknown, 1).await;
    post.publish(0);
    post.stop().await;
    assert_eq!(server.taken("stall-after").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_tried_again() {
    let away = "smtp://127.0.0.1:1?tls=none".parse().unwrap();
    let post = Post::new(Sender::Smtp(away, Authorities::default()), &["ops"]).await;
    post.publish(0);
    let delivery = post.until(0, Queued, 1).await;
    assert_eq!(delivery.due_at, Some(NOW + MINUTE));
    assert!(delivery.error.unwrap().starts_with("connecting to 127.0.0.1:1: "));
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_is_not_allowed_gets_no_mail() {
    let server = Server::start().await;
    let post = Post::new(over(&server), &["ops"]).await;
    // As if the row had been written while this domain was allowed.
    post.execute("UPDATE deliveries SET recipient = 'ops@elsewhere.example'").await;
    post.publish(0);
    let delivery = post.until(0, Failed, 1).await;
    assert!(delivery.error.unwrap().contains("MAIL_ALLOWED_DOMAINS"));
    assert_eq!(server.taken("ops"), Vec::<String>::new());
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_mails_are_files() {
    let folder = testkit::tempdir().unwrap();
    let outbox = folder.path().join("outbox");
    let post = Post::new(Sender::Folder(outbox.clone()), &["ops"]).await;
    post.publish(0);
    let delivery = post.until(0, Written, 1).await;
    let mail = fs::read_to_string(outbox.join(format!("{}.eml", delivery.id))).unwrap();
    assert!(mail.contains("To: ops@example.org"));
    assert_eq!(fs::read_dir(&outbox).unwrap().count(), 1);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_the_release_before_sends_its_mail() {
    let server = Server::start().await;
    let post = Post::new(over(&server), &["ops"]).await;
    post.bring(MailJob { delivery: post.deliveries[0], about: None });
    post.until(0, Sent, 1).await;
    assert_eq!(server.taken("ops").len(), 1);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_of_a_kind_that_a_later_release_sends_waits_for_that_release() {
    let server = Server::start().await;
    let post = Post::new(over(&server), &["ops"]).await;
    let delivery = post.deliveries[0];
    post.execute("UPDATE deliveries SET kind = 'incident', subject_id = '7'").await;
    let about = Subject::new("incident", "7").unwrap();
    post.bring(MailJob { delivery, about: Some(about.clone()) });
    // Nothing is due before, so the relay has nothing, and then it has the job again.
    let due = async || post.registry.take_due_deliveries(NOW + MINUTE, NOW + MINUTE, 10).await.unwrap();
    let mut jobs = Vec::new();
    eventually("it is due a minute later", async || {
        jobs = due().await;
        !jobs.is_empty()
    })
    .await;
    assert_eq!(jobs, [MailJob { delivery, about: Some(about) }]);
    post.stop().await;
    assert_eq!(server.taken("ops"), Vec::<String>::new());
}
