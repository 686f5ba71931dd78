//! One request over HTTP, and how it ended. Nothing here is done twice: no retries, no redirects, no connection that was used
//! before, and no address but those that were checked.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use chassis::trouble::causes;
use fleet::alert::{
    channel::Kind,
    guard::{self, Allowed},
    request::{Bases, Request},
    verdict::{self, Answer, Ending, Verdict},
};
use reqwest::{Client, ClientBuilder, Response, Url, header, redirect, retry};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{net::lookup_host, time::timeout};

/// How long it may take to find the address, to connect, and to agree on TLS.
const CONNECT: Duration = Duration::from_secs(5);

/// How long all of it may take.
const ALL: Duration = Duration::from_secs(10);

/// Most of an answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What sends messages.
#[derive(Debug, Clone)]
pub struct Sender {
    tls: ClientConfig,
    allowed: Allowed,
    bases: Bases,
    /// Times are so many times shorter.
    scale: u32,
}

/// A file that names no authority.
#[derive(Debug, thiserror::Error)]
pub enum BadAuthorities {
    /// It cannot be opened.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, io::Error),
    /// There is none in it.
    #[error(
        "{0} holds no certificate that can be used; it must be a PEM file, with -----BEGIN CERTIFICATE----- in it"
    )]
    Empty(String),
}

/// How a request ended, with what it takes to say so.
enum Ended {
    Refused(String),
    Unreached(String),
    Lost(String),
    Answered(Whole),
}

/// An answer that was read to its end, or to as much of it as counts.
struct Whole {
    status: u16,
    retry_after: Option<String>,
    reset_after: Option<String>,
    body: Vec<u8>,
}

impl Sender {
    /// One that goes to the Internet, to the internal targets of `allowed`, and to the stand-ins of `bases`.
    ///
    /// # Errors
    /// When the file of authorities holds none.
    pub fn new(
        allowed: Allowed,
        bases: Bases,
        authorities: Option<&Path>,
        scale: u32,
    ) -> Result<Self, BadAuthorities> {
        // Whoever was first has set it.
        chassis::service::provide_tls();
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = authorities {
            let name = || path.display().to_string();
            let pem = fs::read(path).map_err(|error| BadAuthorities::Unreadable(name(), error))?;
            let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
            let (added, _) = roots.add_parsable_certificates(found);
            if added == 0 {
                return Err(BadAuthorities::Empty(name()));
            }
        }
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls, allowed, bases, scale: scale.max(1) })
    }

    /// Where services are looked for.
    pub(crate) fn bases(&self) -> &Bases {
        &self.bases
    }

    /// Sends a message to a channel of this kind, and says what became of it.
    pub(crate) async fn send(&self, kind: Kind, request: Request) -> Verdict {
        let ended = self.exchange(request).await;
        let ending = match &ended {
            Ended::Refused(reason) => Ending::Refused(reason),
            Ended::Unreached(reason) => Ending::Unreached(reason),
            Ended::Lost(reason) => Ending::Lost(reason),
            Ended::Answered(whole) => Ending::Answered(Answer {
                status: whole.status,
                retry_after: whole.retry_after.as_deref(),
                reset_after: whole.reset_after.as_deref(),
                body: &whole.body,
            }),
        };
        verdict::judge(kind, ending)
    }

    /// Asks for a URL, to show that somebody is there. An error: why it was not taken.
    pub(crate) async fn call(&self, url: &Url) -> Result<(), String> {
        let request = Request { url: url.clone(), headers: Vec::new(), body: b"{}".to_vec() };
        match self.exchange(request).await {
            Ended::Answered(Whole { status: 200..=299, .. }) => Ok(()),
            Ended::Answered(Whole { status, .. }) => Err(format!("HTTP {status}")),
            Ended::Refused(reason) | Ended::Unreached(reason) | Ended::Lost(reason) => Err(reason),
        }
    }

    async fn exchange(&self, request: Request) -> Ended {
        let begun = Instant::now();
        let (connect, all) = (CONNECT / self.scale, ALL / self.scale);
        let addresses = match timeout(connect, resolve(&request.url)).await {
            Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
            Ok(Ok(_)) => return Ended::Unreached("the host has no address".to_owned()),
            Ok(Err(error)) => return Ended::Unreached(format!("the host is not found: {error}")),
            Err(_) => return Ended::Unreached("the host is not found in time".to_owned()),
        };
        let checked: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
        if let Err(refused) = self.allowed.judge(&request.url, &checked) {
            return Ended::Refused(refused.to_string());
        }
        let left = |bound: Duration| bound.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        let client =
            self.client(&request.url, &addresses).connect_timeout(left(connect)).timeout(left(all)).build();
        let client = match client {
            Ok(client) => client,
            Err(error) => return Ended::Unreached(format!("no request can be made: {}", told(error))),
        };
        let mut asked =
            client.post(request.url).header(header::CONTENT_TYPE, "application/json").body(request.body);
        for (name, value) in request.headers {
            asked = asked.header(name, value);
        }
        match asked.send().await {
            Ok(response) => read(response).await,
            Err(error) if error.is_builder() => Ended::Refused(told(error)),
            Err(error) if error.is_connect() => Ended::Unreached(told(error)),
            Err(error) if error.is_timeout() => Ended::Lost("no answer in time".to_owned()),
            Err(error) => Ended::Lost(told(error)),
        }
    }

    /// A client for one request to these addresses. Another request gets another client, so that no connection is used twice.
    fn client(&self, url: &Url, addresses: &[SocketAddr]) -> ClientBuilder {
        let client = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            // Without this a request that the other side did not begin to answer may be sent twice.
            .retry(retry::never())
            .pool_max_idle_per_host(0);
        match (guard::literal(url), url.host_str()) {
            (None, Some(host)) => client.resolve_to_addrs(host, addresses),
            _ => client,
        }
    }
}

/// The addresses of a URL's host. One that is an address itself is not asked about.
async fn resolve(url: &Url) -> io::Result<Vec<SocketAddr>> {
    let port = url.port_or_known_default().unwrap_or(443);
    if let Some(address) = guard::literal(url) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = url.host_str().unwrap_or_default();
    Ok(lookup_host((host, port)).await?.collect())
}

async fn read(mut response: Response) -> Ended {
    let header =
        |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let spent = header("x-ratelimit-remaining").is_some_and(|left| left.trim() == "0");
    let reset_after = header("x-ratelimit-reset-after").filter(|_| spent);
    let (status, retry_after, mut body) = (response.status().as_u16(), header("retry-after"), Vec::new());
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => body.extend_from_slice(&chunk),
            // As much of it as counts.
            Ok(Some(_)) | Ok(None) => {
                return Ended::Answered(Whole { status, retry_after, reset_after, body });
            }
            Err(_) => return Ended::Lost(format!("HTTP {status}, and its answer was cut short")),
        }
    }
}

/// Without the URL, which may be a secret.
fn told(error: reqwest::Error) -> String {
    let line = causes(&error.without_url());
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
