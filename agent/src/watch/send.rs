//! One request to a chat or a webhook, and how it ended. As the notifier does: nothing is done twice, nothing is followed, and no
//! address is asked that was not checked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use fleet::alert::{
    guard,
    request::Request,
    verdict::{self, Answer, Ending, Verdict},
};
use reqwest::{Certificate, Client, ClientBuilder, Response, Url, header, redirect, retry};
use tokio::{net::lookup_host, time::timeout};

use super::channel::{WatchChannel, setting};

/// How long it may take to find the address, to connect, and to agree on TLS; and how long all of it may take.
const CONNECT: Duration = Duration::from_secs(5);
const ALL: Duration = Duration::from_secs(10);
/// Most of an answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

enum Ended {
    Refused(String),
    Unreached(String),
    Lost(String),
    Answered { status: u16, retry_after: Option<String>, body: Vec<u8> },
}

/// Sends the request once, and says what became of it.
pub(super) async fn send(channel: WatchChannel, request: Request, authorities: Vec<Certificate>) -> Verdict {
    let ended = exchange(&channel, request, &authorities).await;
    let ending = match &ended {
        Ended::Refused(reason) => Ending::Refused(reason),
        Ended::Unreached(reason) => Ending::Unreached(reason),
        Ended::Lost(reason) => Ending::Lost(reason),
        Ended::Answered { status, retry_after, body } => Ending::Answered(Answer {
            status: *status,
            retry_after: retry_after.as_deref(),
            reset_after: None,
            body,
        }),
    };
    verdict::judge(channel.kind(), ending)
}

async fn exchange(channel: &WatchChannel, request: Request, authorities: &[Certificate]) -> Ended {
    let begun = Instant::now();
    let addresses = match timeout(CONNECT, resolve(&request.url)).await {
        Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
        Ok(Ok(_)) => return Ended::Unreached("the host has no address".to_owned()),
        Ok(Err(error)) => return Ended::Unreached(format!("the host is not found: {error}")),
        Err(_) => return Ended::Unreached("the host is not found in time".to_owned()),
    };
    let checked: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    if let Err(refused) = channel.allowed.judge(&request.url, &checked) {
        return Ended::Refused(setting(&refused.to_string()));
    }
    let left = |bound: Duration| bound.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
    let client = client(&request.url, &addresses, authorities).connect_timeout(left(CONNECT));
    let client = match client.timeout(left(ALL)).build() {
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

/// A client for one request to these addresses.
fn client(url: &Url, addresses: &[SocketAddr], authorities: &[Certificate]) -> ClientBuilder {
    // Whoever was first has set it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = Client::builder()
        .user_agent(concat!("rollcall-agent/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        // Without this a request that the other side did not begin to answer may be sent twice.
        .retry(retry::never())
        .pool_max_idle_per_host(0);
    let client = match url.scheme() {
        "https" => client.tls_certs_merge(authorities.iter().cloned()),
        _ => client.tls_certs_only([]),
    };
    match (guard::literal(url), url.host_str()) {
        (None, Some(host)) => client.resolve_to_addrs(host, addresses),
        _ => client,
    }
}

/// The addresses of a URL's host. One that is an address itself is not asked about.
async fn resolve(url: &Url) -> io::Result<Vec<SocketAddr>> {
    let port = url.port_or_known_default().unwrap_or(443);
    if let Some(address) = guard::literal(url) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    Ok(lookup_host((url.host_str().unwrap_or_default(), port)).await?.collect())
}

async fn read(mut response: Response) -> Ended {
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, mut body) = (response.status().as_u16(), Vec::new());
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => body.extend_from_slice(&chunk),
            // As much of it as counts.
            Ok(_) => return Ended::Answered { status, retry_after, body },
            Err(_) => return Ended::Lost(format!("HTTP {status}, and its answer was cut short")),
        }
    }
}

/// Without the URL, which may be a secret.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut line = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
