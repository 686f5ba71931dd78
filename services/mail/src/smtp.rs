//! One conversation with an SMTP server. At every moment it is known whether the server may have taken the mail.

use std::{
    error::Error,
    fmt, io, iter,
    net::IpAddr,
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use chassis::{Secret, trouble::causes};
use lettre::transport::smtp::{
    authentication::{Credentials, DEFAULT_MECHANISMS},
    client::{AsyncSmtpConnection, TlsParameters},
    commands::{Data, Mail, Rcpt},
    extension::ClientId,
};
use percent_encoding::percent_decode_str;
use rustls::CertificateError;
use tokio::time::timeout;

use crate::{
    attempt::{Ending, Stage},
    authorities::Authorities,
    letter::Letter,
};

/// For how long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(30);

const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;

/// An SMTP server and who we are to it. Its password never prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpUrl {
    security: Security,
    host: String,
    port: u16,
    login: Option<(String, Secret)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS; a server without it is not used.
    StartTls,
    /// No TLS: only to a relay on this host.
    None,
}

/// A text that is not the URL of an SMTP server. The error does not repeat the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSmtpUrl {
    /// It cannot be read.
    #[error(
        "not the URL of an SMTP server; write smtps://user:password@host:465 for TLS, or smtp://…:587 for STARTTLS"
    )]
    Shape,
    /// It asks for a connection that others can read.
    #[error("tls=none is for a relay on this host alone (localhost, 127.0.0.1, ::1)")]
    Plain,
}

/// How far a conversation has got.
#[derive(Debug, Default)]
pub struct Progress {
    /// The envelope is on its way.
    begun: AtomicBool,
    /// All of the content is written; the final dot is next.
    dot: AtomicBool,
}

impl FromStr for SmtpUrl {
    type Err = BadSmtpUrl;

    fn from_str(text: &str) -> Result<Self, BadSmtpUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadSmtpUrl::Shape)?;
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (login, place) =
            rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let (security, port) = match (scheme, query) {
            ("smtps", None) => (Security::Tls, SUBMISSIONS),
            ("smtp", None) => (Security::StartTls, SUBMISSION),
            ("smtp", Some("tls=none")) => (Security::None, 25),
            _ => return Err(BadSmtpUrl::Shape),
        };
        let (host, port) =
            place_of(place.strip_suffix('/').unwrap_or(place), port).ok_or(BadSmtpUrl::Shape)?;
        if security == Security::None && !is_here(&host) {
            return Err(BadSmtpUrl::Plain);
        }
        let login = login.map(|login| read_login(login).ok_or(BadSmtpUrl::Shape)).transpose()?;
        Ok(Self { security, host, port, login })
    }
}

impl fmt::Display for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn place_of(place: &str, port: u16) -> Option<(String, u16)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(address) => address.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None if rest.is_empty() => port,
        None => return None,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    (!host.is_empty() && host.chars().all(plain)).then(|| (host.to_owned(), port))
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read_login(login: &str) -> Option<(String, Secret)> {
    let decoded = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let (user, password) = login.split_once(':')?;
    Some((decoded(user)?, Secret::new(decoded(password)?)))
}

impl Progress {
    /// The stage that it has reached.
    pub fn stage(&self) -> Stage {
        match (self.begun.load(Ordering::SeqCst), self.dot.load(Ordering::SeqCst)) {
            (_, true) => Stage::Dot,
            (true, false) => Stage::Content,
            (false, false) => Stage::Greeting,
        }
    }

    /// The content as one piece. The driver asks for the next piece once this one is written, and writes the final
    /// dot when there is none. From that moment on the server may have taken the mail, so it must not be sent again.
    fn watch<'a>(&'a self, content: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let end = || {
            self.dot.store(true, Ordering::SeqCst);
            None
        };
        iter::once(content).chain(iter::from_fn(end))
    }
}

/// Sends a letter; returns once the server has taken it. If the future is dropped, `progress` tells how far it had got.
pub async fn send(
    url: &SmtpUrl,
    authorities: &Authorities,
    letter: &Letter,
    progress: &Progress,
) -> Result<(), Ending> {
    let mut connection = connect(url, authorities, &ClientId::Domain(letter.hello.clone())).await?;
    if let Some((user, password)) = &url.login {
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        let login = connection.auth(DEFAULT_MECHANISMS, &credentials).await;
        login.map_err(|error| ended(&format!("logging in to {url}: "), &error))?;
    }
    progress.begun.store(true, Ordering::SeqCst);
    let ended = |error| ended("", &error);
    let from = letter.envelope.from().cloned();
    connection.command(Mail::new(from, Vec::new())).await.map_err(ended)?;
    for recipient in letter.envelope.to() {
        connection.command(Rcpt::new(recipient.clone(), Vec::new())).await.map_err(ended)?;
    }
    connection.command(Data).await.map_err(ended)?;
    connection.message_iter(progress.watch(&letter.content)).await.map_err(ended)?;
    // The mail is sent. Whether the server hears the QUIT does not matter.
    drop(timeout(Duration::from_secs(1), connection.quit()).await);
    Ok(())
}

async fn connect(
    url: &SmtpUrl,
    authorities: &Authorities,
    hello: &ClientId,
) -> Result<AsyncSmtpConnection, Ending> {
    let failed = |error| ended(&format!("connecting to {url}: "), &error);
    let tls = || authorities.tls(&url.host).map_err(failed);
    let first: Option<TlsParameters> = if url.security == Security::Tls { Some(tls()?) } else { None };
    let place = (url.host.as_str(), url.port);
    let connecting = AsyncSmtpConnection::connect_tokio1(place, Some(CONNECT), hello, first, None);
    let mut connection = connecting.await.map_err(failed)?;
    if url.security == Security::StartTls {
        connection.starttls(tls()?, hello).await.map_err(failed)?;
    }
    Ok(connection)
}

/// How the conversation ended, by the driver's error. The reason begins with `doing`.
fn ended(doing: &str, error: &lettre::transport::smtp::Error) -> Ending {
    let hint = if is_of_unknown_issuer(error) {
        "; name the authority that issued it in SMTP_CA_FILE, if you trust it"
    } else {
        ""
    };
    let reason = format!("{doing}{}{hint}", causes(error));
    match () {
        () if error.is_permanent() => Ending::Permanent(reason),
        () if error.is_transient() => Ending::Transient(reason),
        () => Ending::Lost(reason),
    }
}

fn is_of_unknown_issuer(error: &lettre::transport::smtp::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        // An I/O error hides the one that it holds from `source`.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = held.and_then(|error| error.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(why)) = tls {
            // A bad signature is one by another key of an issuer of the same name.
            return matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature);
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_how_it_is_secured() {
        let read = |text: &str| text.parse::<SmtpUrl>().unwrap();
        let tls = read("smtps://user%40x:p%2Fw@mail.example.org");
        assert_eq!((tls.security, tls.port, tls.host.as_str()), (Security::Tls, 465, "mail.example.org"));
        assert_eq!(tls.login, Some(("user@x".to_owned(), Secret::new("p/w"))));
        assert_eq!(read("smtp://mail.example.org").security, Security::StartTls);
        assert_eq!(read("smtp://mail.example.org/").port, 587);
        let here = read("smtp://[::1]:2525?tls=none");
        assert_eq!((here.security, here.port, here.host.as_str()), (Security::None, 2525, "::1"));
        assert_eq!(read("smtp://localhost?tls=none").port, 25);
    }

    #[test]
    fn plain_is_for_this_host_alone() {
        for text in
            ["smtp://mail.example.org?tls=none", "smtp://10.0.0.1?tls=none", "smtp://localhost.evil?tls=none"]
        {
            assert_eq!(text.parse::<SmtpUrl>(), Err(BadSmtpUrl::Plain), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_a_password_never_prints() {
        for text in [
            "",
            "mail",
            "http://mail",
            "smtp://",
            "smtp://:25",
            "smtp://a:b",
            "smtp://a:0",
            "smtp://a b",
            "smtp://u@a",
            "smtp://a?tls=maybe",
            "smtps://a?tls=none",
            "smtp://[::1",
            "smtp://a/b",
        ] {
            assert_eq!(text.parse::<SmtpUrl>(), Err(BadSmtpUrl::Shape), "{text}");
        }
        let url: SmtpUrl = "smtp://user:hunter2@mail".parse().unwrap();
        assert!(!format!("{url:?} {url}").contains("hunter2"));
    }
}
