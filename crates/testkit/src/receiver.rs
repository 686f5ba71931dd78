//! Stand-ins for chats and webhooks, on loopback. They write down what they take before they answer, check it as the service's
//! documents say, and can do what services do when they break.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Most bytes of a request.
const MOST: usize = 1024 * 1024;

/// What a receiver stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// WeCom's group bots (document 91770).
    Wecom,
    /// Telegram's Bot API, `sendMessage`.
    Telegram,
    /// Slack's incoming webhooks.
    Slack,
    /// Discord's webhooks.
    Discord,
    /// Any program.
    Webhook,
}

/// A request that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// JSON, or null.
    pub body: Value,
    /// As it came.
    pub bytes: Vec<u8>,
}

/// What a receiver does once it has written a request down.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// What its service answers to such a request: that it took it, or why not.
    Usual,
    /// This status, with these headers and this body.
    With(u16, Vec<(&'static str, String)>, String),
    /// Nothing, for so long, and then the usual.
    Hang(Duration),
    /// The connection is reset.
    Reset,
    /// The head of an answer, and a part of its body.
    Cut,
    /// The connection is closed without a word.
    Close,
}

type Manner = Box<dyn FnMut(&Taken) -> Reply + Send>;

/// A receiver on a port of its own, until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    service: Service,
    taken: Mutex<Vec<Taken>>,
    manner: Mutex<Manner>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Taken {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// The text for people in it, wherever its service has it.
    pub fn text(&self) -> String {
        let places = ["/markdown/content", "/text", "/content", "/message"];
        let found = places.iter().find_map(|place| self.body.pointer(place)?.as_str());
        found.map(str::to_owned).unwrap_or_else(|| self.body.to_string())
    }
}

impl Receiver {
    /// One that behaves as its service does.
    ///
    /// # Panics
    /// When loopback has no port to give, which fails the test.
    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    pub async fn start(service: Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let manner: Manner = Box::new(|_| Reply::Usual);
        let shared = Arc::new(Shared { service, taken: Mutex::default(), manner: Mutex::new(manner) });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it does this with each request.
    pub fn behave(&self, manner: impl FnMut(&Taken) -> Reply + Send + 'static) {
        *lock(&self.shared.manner) = Box::new(manner);
    }

    /// What it took, in the order in which it did.
    pub fn taken(&self) -> Vec<Taken> {
        lock(&self.shared.taken).clone()
    }

    /// How much it took.
    pub fn count(&self) -> usize {
        lock(&self.shared.taken).len()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { drop(converse(stream, &shared).await) });
    }
}

/// One request a connection, as whoever sends it says itself.
async fn converse(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some(taken) = read(&mut stream).await? else { return Ok(()) };
    // Before anything is answered: whatever becomes of the answer, it was taken.
    lock(&shared.taken).push(taken.clone());
    let reply = (lock(&shared.manner))(&taken);
    let (status, headers, body) = match reply {
        Reply::Usual => usual(shared.service, &taken),
        Reply::With(status, headers, body) => (status, headers, body),
        Reply::Hang(time) => {
            tokio::time::sleep(time).await;
            usual(shared.service, &taken)
        }
        Reply::Reset => {
            stream.set_zero_linger()?;
            return Ok(());
        }
        Reply::Cut => {
            return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"errcode\":0,").await;
        }
        Reply::Close => return Ok(()),
    };
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await?;
    stream.shutdown().await
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Taken>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let read = stream.read(&mut buffer).await?;
        if read == 0 || bytes.len() > MOST {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..read]);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let end = head_end + length.unwrap_or(0).min(MOST);
    while bytes.len() < end {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
    let bytes = bytes[head_end..end].to_vec();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Some(Taken { path, headers, body, bytes }))
}

type Answer = (u16, Vec<(&'static str, String)>, String);

/// What the service answers, by its documents.
fn usual(service: Service, taken: &Taken) -> Answer {
    let json =
        |status, body: &str| (status, vec![("content-type", "application/json".to_owned())], body.to_owned());
    let body = &taken.body;
    match service {
        Service::Wecom => match body.pointer("/markdown/content").and_then(Value::as_str) {
            Some(text) if body["msgtype"] == "markdown" && (1..=4_096).contains(&text.len()) => {
                json(200, r#"{"errcode":0,"errmsg":"ok"}"#)
            }
            _ => json(200, r#"{"errcode":40058,"errmsg":"markdown.content exceed max length 4096"}"#),
        },
        Service::Telegram => match body["text"].as_str() {
            Some(text)
                if !body["chat_id"].is_null() && (1..=4_096).contains(&text.encode_utf16().count()) =>
            {
                json(200, r#"{"ok":true,"result":{"message_id":1}}"#)
            }
            _ => {
                json(400, r#"{"ok":false,"error_code":400,"description":"Bad Request: message is too long"}"#)
            }
        },
        Service::Slack => match body["text"].as_str() {
            Some(text) if !text.is_empty() => (200, Vec::new(), "ok".to_owned()),
            _ => (400, Vec::new(), "no_text".to_owned()),
        },
        Service::Discord => match body["content"].as_str() {
            Some(text) if (1..=2_000).contains(&text.chars().count()) => json(200, r#"{"id":"1","type":0}"#),
            _ => json(400, r#"{"content":["Must be 2000 or fewer in length."]}"#),
        },
        Service::Webhook if body.is_object() => (204, Vec::new(), String::new()),
        Service::Webhook => (400, Vec::new(), String::new()),
    }
}
