//! Talks to the suite over HTTP: one request, one answer, and the next address when one fails.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use fleet::Interval;
use reqwest::{Certificate, Client, RequestBuilder, header, redirect};
use wire::v1::Accepted;

use crate::{
    AgentError,
    answer::{Answer, elsewhere, problem},
    backoff::LONGEST,
    settings::Secret,
    spool::Sample,
};

const SNAPSHOTS: &str = "/healthcheck/v1/snapshots";
/// With this a gate that holds as many requests as it may says when to ask again.
const AGAIN_MS: &str = "again-ms";
/// Most of an answer that is read.
const MAX_ANSWER_BYTES: usize = 128 * 1024;
/// What is smaller gains nothing by gzip: the packet is sent anyway.
const GZIP_FROM_BYTES: usize = 4 * 1024;
/// Most of a request's body, as sent.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;

/// A request's body.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub bytes: Vec<u8>,
    gzip: bool,
}

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unanswered {
    pub why: String,
    /// What was sent may have been taken all the same.
    pub doubtful: bool,
}

/// The gates, and which of them serves at present.
#[derive(Debug)]
pub(crate) struct Gates {
    client: Client,
    urls: Vec<String>,
    current: usize,
    first_again: Instant,
    /// How long to stay away from the first after it failed.
    pause: Duration,
}

/// An HTTP client for these addresses, which trusts `authorities` too. It follows no redirect: a credential goes
/// nowhere but where a person said.
pub(crate) fn client<'a>(
    mut urls: impl Iterator<Item = &'a str>,
    authorities: &[Certificate],
) -> Result<Client, AgentError> {
    // reqwest without a provider of its own takes the process's; whoever was first has set it, and the error says no
    // more.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("rollcall-agent/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(1);
    builder = match urls.any(|url| url.starts_with("https:")) {
        true => builder.tls_certs_merge(authorities.iter().cloned()),
        // The system's certificates take memory, and an image without any would be refused.
        false => builder.tls_certs_only([]),
    };
    builder.build().map_err(AgentError::Client)
}

impl Body {
    /// A report of these, gzipped when that pays. A large one is never in memory as a whole.
    pub fn of(samples: &[&Sample], interval: Interval) -> Self {
        if samples.iter().map(|one| one.bytes()).sum::<usize>() >= GZIP_FROM_BYTES {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to memory does not fail.
            if write(&mut encoder, samples, interval).is_ok()
                && let Ok(bytes) = encoder.finish()
            {
                return Self { bytes, gzip: true };
            }
        }
        let mut bytes = Vec::new();
        drop(write(&mut bytes, samples, interval));
        Self { bytes, gzip: false }
    }
}

fn write(into: &mut impl Write, samples: &[&Sample], interval: Interval) -> io::Result<()> {
    write!(into, "{{\"interval_ms\":{},\"snapshots\":[", interval.millis())?;
    for (index, one) in samples.iter().enumerate() {
        into.write_all(if index > 0 { b"," } else { b"" })?;
        one.put(into)?;
    }
    into.write_all(b"]}")
}

impl Gates {
    pub fn new(client: Client, urls: Vec<String>, pause: Duration) -> Self {
        Self { client, urls, current: 0, first_again: Instant::now(), pause: pause.min(LONGEST) }
    }

    /// The address of the gate that serves.
    pub fn serving(&self) -> &str {
        &self.urls[self.current]
    }

    /// Sends to the gate that serves; when it fails, to the next.
    pub async fn send(
        &mut self,
        body: Body,
        credential: &Secret,
        timeout: Duration,
    ) -> Result<Answer, Unanswered> {
        let to_first = self.current != 0 && Instant::now() >= self.first_again;
        if to_first {
            self.first_again = Instant::now() + self.pause;
        }
        let tried = if to_first { 0 } else { self.current };
        let again = (self.urls.len() > 1).then(|| body.clone());
        let answer = self.send_to(tried, body, credential, timeout).await;
        let Some(body) = again.filter(|_| !answer.as_ref().is_ok_and(|answer| !elsewhere(answer))) else {
            self.current = tried;
            return answer;
        };
        let next = if to_first { self.current } else { (tried + 1) % self.urls.len() };
        let second = self.send_to(next, body, credential, timeout).await;
        if second.as_ref().is_ok_and(|answer| !elsewhere(answer)) {
            if tried == 0 {
                self.first_again = Instant::now() + self.pause;
            }
            self.current = next;
            return second;
        }
        self.current = (next + 1) % self.urls.len();
        match (answer, second) {
            (Err(first), Err(second)) => {
                Err(Unanswered { doubtful: first.doubtful || second.doubtful, ..first })
            }
            (answer, second) => answer.or(second),
        }
    }

    async fn send_to(
        &self,
        index: usize,
        body: Body,
        credential: &Secret,
        timeout: Duration,
    ) -> Result<Answer, Unanswered> {
        let url = format!("{}{SNAPSHOTS}", self.urls[index]);
        let mut request = self.client.post(url).bearer_auth(credential.expose());
        if body.gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body.bytes);
        let (answer, text) = ask(request, timeout).await?;
        if (200..300).contains(&answer.status) {
            return Ok(Answer { accepted: serde_json::from_slice::<Accepted>(&text).ok(), ..answer });
        }
        Ok(Answer { problem: problem(&text), ..answer })
    }
}

/// One request within `timeout`: the answer, its body not yet understood.
pub(crate) async fn ask(request: RequestBuilder, timeout: Duration) -> Result<(Answer, Vec<u8>), Unanswered> {
    let begun = Instant::now();
    let mut response = request.timeout(timeout).send().await.map_err(|error| Unanswered::from(&error))?;
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs)
        .or_else(|| {
            let wait = response.headers().get(AGAIN_MS)?.to_str().ok()?.trim().parse().ok()?;
            Some(Duration::from_millis(wait))
        });
    let status = response.status().as_u16();
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Unanswered::from(&error))? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_ANSWER_BYTES {
            let why = format!("answered {status} with more than {MAX_ANSWER_BYTES} bytes");
            return Err(Unanswered { why, doubtful: true });
        }
    }
    Ok((Answer { status, retry_after, round_trip: begun.elapsed(), ..Answer::default() }, text))
}

/// Whether the other side answered the first message of TLS by something that is none, as a plain HTTP server does.
fn speaks_no_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidMessage(_));
    }
    // An I/O error that wraps another one hides it from whoever asks for its source.
    error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).is_some_and(|inner| speaks_no_tls(inner))
}

impl From<&reqwest::Error> for Unanswered {
    /// The whole chain: reqwest's own message stops before the reason.
    fn from(error: &reqwest::Error) -> Self {
        let mut why = error.to_string();
        let (mut source, mut plain) = (std::error::Error::source(error), false);
        while let Some(error) = source {
            why = format!("{why}: {error}");
            plain |= speaks_no_tls(error);
            source = error.source();
        }
        if plain {
            why.push_str(
                "; what answers there speaks no TLS: is it http:// instead of https://, or another port?",
            );
        }
        Self { why, doubtful: !error.is_connect() }
    }
}
