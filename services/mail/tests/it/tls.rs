//! What is sent, and what is not, over TLS by a certificate of an authority of one's own, and with a password.

use mail::{Authorities, Sender};
use registry::{
    Delivery,
    DeliveryState::{Queued, Sent, Unknown},
};

use crate::{
    authority::Authority,
    post::{MINUTE, NOW, Post},
    server::Server,
};

const LOGIN: [&str; 3] = ["--login", "rollcall", "p@ss/word"];

/// By STARTTLS, and from the first byte.
const MODES: [(&str, &[&str]); 2] = [("smtp", &[]), ("smtps", &["--tls"])];

async fn start(authority: &Authority, mode: &[&str], login: &[&str]) -> Server {
    let certificate = authority.arguments();
    let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
    Server::start_with(&[&certificate, mode, login].concat()).await
}

fn over(scheme: &str, login: &str, server: &Server, trusted: Option<&Authority>) -> Sender {
    let trusted =
        trusted.map_or_else(Authorities::default, |found| Authorities::read(&found.file()).unwrap());
    Sender::Smtp(format!("{scheme}://{login}127.0.0.1:{}", server.port).parse().unwrap(), trusted)
}

/// What became of a mail to `name` that cannot be sent now.
async fn not_sent(sender: Sender, server: &Server, name: &str) -> Delivery {
    let post = Post::new(sender, &[name]).await;
    post.publish(0);
    let delivery = post.until(0, Queued, 1).await;
    assert_eq!(delivery.due_at, Some(NOW + MINUTE));
    assert_eq!(server.taken(name), Vec::<String>::new());
    post.stop().await;
    delivery
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_goes_over_tls_to_a_server_that_an_authority_of_ours_vouches_for() {
    let authority = Authority::new();
    for (scheme, mode) in MODES {
        let server = start(&authority, mode, &LOGIN).await;
        let sender = over(scheme, "rollcall:p%40ss%2Fword@", &server, Some(&authority));
        let post = Post::new(sender, &["ops"]).await;
        post.publish(0);
        post.until(0, Sent, 1).await;
        post.stop().await;
        assert_eq!(server.taken("ops").len(), 1, "{scheme}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_the_mail_is_sent_once_it_is_right() {
    let authority = Authority::new();
    for (scheme, mode) in MODES {
        let server = start(&authority, mode, &LOGIN).await;
        let wrong = over(scheme, "rollcall:wrong@", &server, Some(&authority));
        let mut post = Post::new(wrong, &["ops"]).await;
        post.publish(0);
        let delivery = post.until(0, Queued, 1).await;
        let told = delivery.error.unwrap();
        assert!(told.starts_with("logging in to 127.0.0.1:") && told.contains("535"), "{told}");
        assert!(!told.contains("wrong") && server.taken("ops").is_empty(), "{told}");
        post.kill(over(scheme, "rollcall:p%40ss%2Fword@", &server, Some(&authority))).await;
        post.publish(0);
        post.until(0, Sent, 2).await;
        post.stop().await;
        assert_eq!(server.taken("ops").len(), 1, "{scheme}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_nobody_we_trust_vouches_for_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (scheme, mode) in MODES {
        let server = start(&authority, mode, &[]).await;
        // The other authority has the same name.
        for (trusted, reason) in [(None, "UnknownIssuer"), (Some(&other), "BadSignature")] {
            let told = not_sent(over(scheme, "", &server, trusted), &server, "ops").await.error.unwrap();
            assert!(told.starts_with("connecting to 127.0.0.1:") && told.contains(reason), "{told}");
            assert!(told.contains("SMTP_CA_FILE"), "{told}");
        }
    }
    // The authority is trusted, but the certificate is for another name.
    let server = start(&authority, &[], &[]).await;
    let url = format!("smtp://localhost:{}", server.port).parse().unwrap();
    let sender = Sender::Smtp(url, Authorities::read(&authority.file()).unwrap());
    let told = not_sent(sender, &server, "ops").await.error.unwrap();
    assert!(told.contains("localhost") && !told.contains("SMTP_CA_FILE"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_starttls_gets_neither_password_nor_mail() {
    let server = Server::start_with(&LOGIN).await;
    let sender = over("smtp", "rollcall:p%40ss%2Fword@", &server, None);
    let told = not_sent(sender, &server, "ops").await.error.unwrap();
    assert!(told.contains("STARTTLS is not supported"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_within_the_content_is_tried_again_and_after_it_unknown() {
    let authority = Authority::new();
    for (scheme, mode) in MODES {
        let server = start(&authority, mode, &[]).await;
        let sender = || over(scheme, "", &server, Some(&authority));
        // More than a socket takes at once, so that it cannot all be on its way when the connection goes.
        let post = Post::large(sender(), &["drop-within"]).await;
        post.publish(0);
        post.until(0, Queued, 1).await;
        post.stop().await;
        let post = Post::new(sender(), &["drop-after"]).await;
        post.publish(0);
        post.until(0, Unknown, 1).await;
        post.stop().await;
        assert_eq!((server.taken("drop-within").len(), server.taken("drop-after").len()), (0, 1), "{scheme}");
    }
}
