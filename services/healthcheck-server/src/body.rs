//! Reads a body within its bounds, both as sent and inflated. Nothing beyond them is kept or inflated.

use std::{io::Read, time::Duration};

use actix_web::{
    HttpRequest,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH},
    web::{self, BytesMut},
};
use chassis::http::made_room;
use flate2::bufread::MultiGzDecoder;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::rejection::Rejection;

/// Longest body as sent.
const MOST_SENT: usize = 256 * 1024;
/// Longest body inflated.
const MOST_INFLATED: usize = 1024 * 1024;
/// What is set aside for a body that only says how long it will be.
const SET_ASIDE: usize = 16 * 1024;
/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(30);

const TOO_LARGE: Rejection = Rejection::TooLarge("a body is at most 256 KiB as sent");

/// A body as JSON text should be in it.
pub enum Body {
    Plain(BytesMut),
    Inflated(Vec<u8>),
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Inflated(bytes) => bytes,
        }
    }
}

pub async fn read(request: &HttpRequest, payload: web::Payload) -> Result<Body, Rejection> {
    let gzip = match request.headers().get(CONTENT_ENCODING).map(|coding| coding.as_bytes()) {
        None => false,
        Some(coding) if coding.eq_ignore_ascii_case(b"identity") => false,
        Some(coding) if coding.eq_ignore_ascii_case(b"gzip") => true,
        Some(_) => return Err(Rejection::UnsupportedEncoding),
    };
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let length: usize = length.unwrap_or(0);
    if length > MOST_SENT {
        return Err(TOO_LARGE);
    }
    let sent = timeout(PATIENCE, collect(payload, length)).await.map_err(|_| Rejection::TooSlow)??;
    if gzip { inflate(&sent).map(Body::Inflated) } else { Ok(Body::Plain(sent)) }
}

async fn collect(mut payload: web::Payload, length: usize) -> Result<BytesMut, Rejection> {
    let mut sent = BytesMut::with_capacity(length.min(SET_ASIDE));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| broken_off(&error))?;
        if sent.len() + chunk.len() > MOST_SENT {
            return Err(TOO_LARGE);
        }
        sent.extend_from_slice(&chunk);
    }
    Ok(sent)
}

fn broken_off(error: &PayloadError) -> Rejection {
    match made_room(error) {
        true => Rejection::NoRoom,
        false => Rejection::Json("the body ended early".to_owned()),
    }
}

fn inflate(sent: &[u8]) -> Result<Vec<u8>, Rejection> {
    // One byte more than is allowed, to see whether there is more.
    let most = MOST_INFLATED as u64 + 1;
    let mut inflated = Vec::with_capacity(MOST_INFLATED.min(4 * sent.len()));
    if MultiGzDecoder::new(sent).take(most).read_to_end(&mut inflated).is_err() {
        return Err(Rejection::Json("the body is not whole gzip".to_owned()));
    }
    if inflated.len() > MOST_INFLATED {
        return Err(Rejection::TooLarge("a body is at most 1 MiB inflated"));
    }
    Ok(inflated)
}
