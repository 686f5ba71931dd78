//! As much of an HTTP/1.1 client as a load generator needs: it shares the cores with what it measures, so it formats
//! requests by hand and reads no more of a response than its status and length.

use std::{io, net::SocketAddr};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest response that is read; a longer one is an error.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Where a suite listens.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address to connect to.
    pub addr: SocketAddr,
    /// What goes into `Host`.
    pub host: String,
}

/// A keep-alive connection. After an error it must be dropped: what is left in it belongs to no request.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response: its body is valid until the next exchange.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The status code.
    pub status: u16,
    /// The body, never compressed.
    pub body: &'a [u8],
}

struct Head {
    status: u16,
    /// Offset of the body.
    body: usize,
    length: usize,
}

impl Target {
    /// Takes `http://host:port`.
    pub async fn resolve(base_url: &str) -> Result<Self> {
        let host = base_url.strip_prefix("http://").context("the URL must begin with http://")?;
        let host = host.trim_end_matches('/').to_owned();
        let found =
            tokio::net::lookup_host(&host).await.with_context(|| format!("looking up {host}"))?.next();
        let addr = found.with_context(|| format!("{host} has no address"))?;
        Ok(Self { addr, host })
    }
}

impl Connection {
    /// Connects.
    pub async fn open(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(target.addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(2048) })
    }

    /// Sends the bytes of one whole request and reads the response.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Reply<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            self.fill().await?;
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
        };
        let end = head.body + head.length;
        while self.buffer.len() < end {
            self.fill().await?;
        }
        Ok(Reply { status: head.status, body: &self.buffer[head.body..end] })
    }

    /// One JSON request to the API; anything but 2xx is an error that holds the body.
    pub async fn call(
        &mut self,
        target: &Target,
        method: &str,
        path: &str,
        bearer: Option<&str>,
        json: Option<&Value>,
    ) -> Result<Value> {
        let body = json.map(Value::to_string).unwrap_or_default();
        let bearer = bearer.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{bearer}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            target.host,
            body.len()
        );
        let reply = self.exchange(request.as_bytes()).await.with_context(|| format!("{method} {path}"))?;
        if !(200..300).contains(&reply.status) {
            bail!("{method} {path}: {} {}", reply.status, String::from_utf8_lossy(reply.body));
        }
        if reply.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(reply.body).with_context(|| format!("{method} {path}: not JSON"))
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.buffer.len() > MAX_RESPONSE_BYTES {
            return Err(io::Error::other("the response is too long"));
        }
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| bad("the head is not UTF-8"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.get(9..12)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| bad("no status"))?;
    let mut length = (status == 204).then_some(0);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    let length = length.ok_or_else(|| bad("a response without a length"))?;
    Ok(Some(Head { status, body: end + 4, length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_length_are_found() {
        let bytes = b"HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\nx: y\r\n\r\nhello";
        let head = parse_head(bytes).unwrap().unwrap();
        assert_eq!((head.status, &bytes[head.body..], head.length), (202, &b"hello"[..], 5));
    }

    #[test]
    fn half_a_head_waits_and_a_length_is_required() {
        assert!(parse_head(b"HTTP/1.1 202 Accepted\r\ncontent-le").unwrap().is_none());
        assert!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert_eq!(parse_head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().length, 0);
    }
}
