//! What goes on around every request: its connection is told when the handler begins, wants more of the body, and is done;
//! and it gets an id, by which its lines of the log and its answer are found.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    Error,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING},
    middleware::Next,
    web::Bytes,
};
use futures_util::Stream;
use tracing::Instrument;

use super::{
    doors::Connection,
    request_id::{RequestId, X_REQUEST_ID},
};

/// A connection's request, from its head to the end of its answer.
struct Request(Arc<Connection>);

/// A body whose connection is told when more of it is wanted.
struct Body {
    payload: Payload,
    connection: Arc<Connection>,
}

/// An answer that its connection is told the end of.
pub(super) struct Answer {
    body: BoxBody,
    _request: Option<Request>,
}

/// Whether a body broke off because its sender had to make room for others: to be answered 503.
pub fn made_room(error: &PayloadError) -> bool {
    matches!(error, PayloadError::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded)
}

pub(super) async fn attend<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Answer>, Error> {
    let under_way = request.conn_data::<Arc<Connection>>().map(|connection| {
        let body = length(request.headers());
        connection.begin(body);
        Request(Arc::clone(connection))
    });
    if let Some(Request(connection)) = &under_way {
        watch(&mut request, connection);
    }
    let id = RequestId::of(request.headers());
    // As severe as can be, so that no level of the log is without it.
    let span = tracing::error_span!("request", request_id = id.as_str());
    let step = tracing::debug_span!(target: "steps", parent: &span, "answer");
    let answer = id.clone().around(next.call(request)).instrument(step).instrument(span).await?;
    let mut answer = answer.map_into_boxed_body();
    answer.headers_mut().insert(X_REQUEST_ID, id.into());
    Ok(answer.map_body(|_, body| Answer { body, _request: under_way }))
}

/// Bytes of the body; `u64::MAX`, if only its end will tell.
fn length(headers: &HeaderMap) -> u64 {
    if headers.contains_key(TRANSFER_ENCODING) {
        return u64::MAX;
    }
    headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn watch(request: &mut ServiceRequest, connection: &Arc<Connection>) {
    let (_, payload) = request.parts_mut();
    if !matches!(payload, Payload::None) {
        let body = Body { payload: payload.take(), connection: Arc::clone(connection) };
        request.set_payload(Payload::Stream { payload: Box::pin(body) });
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.connection.told() {
            return Poll::Ready(Some(Err(PayloadError::Io(io::ErrorKind::QuotaExceeded.into()))));
        }
        let next = Pin::new(&mut self.payload).poll_next(context);
        if next.is_pending() {
            self.connection.want_body();
        }
        next
    }
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
