//! One conversation with an SMTP server, which knows at every moment whether the mail may have been taken.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use chassis::{Secret, trouble::causes};
use lettre::transport::smtp::{
    authentication::{Credentials, DEFAULT_MECHANISMS},
    client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters},
    commands::{Data, Mail, Rcpt},
    extension::ClientId,
};
use percent_encoding::percent_decode_str;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use crate::{
    attempt::{Ending, Stage},
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
    /// From the first byte.
    Tls,
    /// By STARTTLS; a server without it is not used.
    StartTls,
    /// None: to a relay on this host.
    None,
}

/// A text that is no URL of an SMTP server. It says nothing of the text, which may hold a password.
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

/// How far a conversation is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Our envelope is on its way.
    begun: Arc<AtomicBool>,
    /// The server said that it waits for the content.
    content: Arc<AtomicBool>,
    /// What was done last is to wait for the server; so all that was written before has left.
    waiting: Arc<AtomicBool>,
}

/// A connection that notes what is done on it last.
#[derive(Debug)]
struct Watched {
    stream: TcpStream,
    waiting: Arc<AtomicBool>,
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
        let set = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        match (set(&self.begun), set(&self.content), set(&self.waiting)) {
            (false, ..) => Stage::Greeting,
            (true, true, true) => Stage::Dot,
            (true, ..) => Stage::Content,
        }
    }
}

/// Sends a letter; returns once the server has taken it. Dropped at any moment, `progress` tells how far it had got.
pub async fn send(url: &SmtpUrl, letter: &Letter, progress: &Progress) -> Result<(), Ending> {
    let hello = ClientId::Domain(letter.hello.clone());
    let mut connection = connect(url, &hello, progress).await?;
    if let Some((user, password)) = &url.login {
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(ended)?;
    }
    progress.begun.store(true, Ordering::SeqCst);
    let from = letter.envelope.from().cloned();
    connection.command(Mail::new(from, Vec::new())).await.map_err(ended)?;
    for recipient in letter.envelope.to() {
        connection.command(Rcpt::new(recipient.clone(), Vec::new())).await.map_err(ended)?;
    }
    connection.command(Data).await.map_err(ended)?;
    // From here on "waiting" means waiting for the answer to the final dot. A connection that is not watched (TLS from
    // its first byte) counts as waiting, so that a doubt never becomes a second copy.
    progress.waiting.store(url.security == Security::Tls, Ordering::SeqCst);
    progress.content.store(true, Ordering::SeqCst);
    connection.message(&letter.content).await.map_err(ended)?;
    // It is sent; whether it hears our farewell changes nothing.
    drop(timeout(Duration::from_secs(1), connection.quit()).await);
    Ok(())
}

async fn connect(
    url: &SmtpUrl,
    hello: &ClientId,
    progress: &Progress,
) -> Result<AsyncSmtpConnection, Ending> {
    let tls = || TlsParameters::new_rustls(url.host.clone()).map_err(ended);
    let place = (url.host.as_str(), url.port);
    if url.security == Security::Tls {
        let tls = Some(tls()?);
        let connecting = AsyncSmtpConnection::connect_tokio1(place, Some(CONNECT), hello, tls, None);
        return connecting.await.map_err(ended);
    }
    let stream = match timeout(CONNECT, TcpStream::connect(place)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Ending::Lost(format!("cannot connect to {url}: {error}"))),
        Err(_) => return Err(Ending::Lost(format!("cannot connect to {url} within 30 s"))),
    };
    let watched = Watched { stream, waiting: Arc::clone(&progress.waiting) };
    let mut connection =
        AsyncSmtpConnection::connect_with_transport(Box::new(watched), hello).await.map_err(ended)?;
    if url.security == Security::StartTls {
        connection.starttls(tls()?, hello).await.map_err(ended)?;
    }
    Ok(connection)
}

fn ended(error: lettre::transport::smtp::Error) -> Ending {
    let reason = causes(&error);
    match () {
        () if error.is_permanent() => Ending::Permanent(reason),
        () if error.is_transient() => Ending::Transient(reason),
        () => Ending::Lost(reason),
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.waiting.store(true, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.waiting.store(false, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Watched {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
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
