//! Answers are compressed where that pays: a page of servers is a fifth of its size.

use actix_http::encoding::Encoder;
use actix_web::{
    Error,
    body::{BodySize, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{
        AcceptEncoding, CONTENT_TYPE, ContentEncoding, Encoding, Header, HeaderMap, HeaderValue, VARY,
    },
    middleware::Next,
};

/// Below it the answer fits into one packet either way.
const LEAST_BYTES: u64 = 1_024;

/// What is text. Sheets of Excel and the agents are compressed already, and events are to arrive one by one.
const PAYS: [&str; 7] = [
    "application/json",
    "application/problem+json",
    "text/html",
    "text/javascript",
    "text/css",
    "text/csv",
    "text/plain",
];

/// A middleware: gzip for whoever takes it. A body that comes in parts is passed on in parts, and whatever the
/// compression holds back is released when the next part is late.
pub(crate) async fn compress<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Encoder<B>>, Error> {
    let taken = takes_gzip(&request);
    let answer = next.call(request).await?;
    Ok(answer.map_body(|head, body| {
        let pays = pays(head.headers(), body.size());
        if pays && !taken {
            head.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        let encoding = if pays && taken { ContentEncoding::Gzip } else { ContentEncoding::Identity };
        Encoder::response(encoding, head, body)
    }))
}

fn takes_gzip(request: &ServiceRequest) -> bool {
    let offered = [Encoding::gzip(), Encoding::identity()];
    let negotiated = AcceptEncoding::parse(request).ok().and_then(|taken| taken.negotiate(offered.iter()));
    negotiated == Some(Encoding::gzip())
}

fn pays(headers: &HeaderMap, size: BodySize) -> bool {
    let large = match size {
        BodySize::None => false,
        BodySize::Sized(bytes) => bytes >= LEAST_BYTES,
        BodySize::Stream => true,
    };
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    large && PAYS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use std::{
        future::{poll_fn, ready},
        io::Read,
    };

    use actix_web::{
        App, HttpResponse,
        http::header::{ACCEPT_ENCODING, CONTENT_ENCODING},
        middleware::from_fn,
        test::{TestRequest, call_service, init_service},
        web::{self, Bytes},
    };
    use flate2::read::GzDecoder;
    use futures_util::{StreamExt, stream};
    use tokio::time::{Duration, timeout};

    use super::*;

    #[actix_web::test]
    async fn what_comes_in_parts_is_passed_on_in_parts() {
        const FIRST: &[u8; 8] = b"name,os\n";
        let handler = || async {
            let parts = stream::once(ready(Ok::<_, Error>(Bytes::from_static(FIRST))));
            HttpResponse::Ok().content_type("text/csv").streaming(parts.chain(stream::pending()))
        };
        let app = App::new().wrap(from_fn(compress)).route("/", web::get().to(handler));
        let request = TestRequest::get().insert_header((ACCEPT_ENCODING, "gzip")).to_request();
        let answer = call_service(&init_service(app).await, request).await;
        assert_eq!(answer.headers().get(CONTENT_ENCODING).unwrap(), "gzip");
        let (mut body, mut packed, mut text) = (Box::pin(answer.into_body()), Vec::new(), [0; FIRST.len()]);
        // The second part never comes.
        while GzDecoder::new(&packed[..]).read_exact(&mut text).is_err() {
            let chunk = poll_fn(|context| body.as_mut().poll_next(context));
            let chunk = timeout(Duration::from_secs(30), chunk).await.unwrap();
            packed.extend_from_slice(&chunk.unwrap().ok().unwrap());
        }
        assert_eq!(&text, FIRST);
    }

    #[test]
    fn gzip_is_for_who_takes_it() {
        for (header, expected) in [
            (None, false),
            (Some(""), false),
            (Some("gzip"), true),
            (Some("gzip, deflate, br, zstd"), true),
            (Some("br"), false),
            (Some("gzip;q=0"), false),
            (Some("identity;q=1, gzip;q=0.5"), false),
            (Some("gzip;q=0.5, *;q=0"), true),
            (Some("\u{fe}"), false),
        ] {
            let mut request = TestRequest::default();
            if let Some(header) = header {
                request = request.insert_header((ACCEPT_ENCODING, header));
            }
            assert_eq!(takes_gzip(&request.to_srv_request()), expected, "{header:?}");
        }
    }

    #[test]
    fn what_is_small_or_compressed_stays_as_it_is() {
        for (kind, size, expected) in [
            ("application/json", BodySize::Sized(LEAST_BYTES), true),
            ("application/json", BodySize::Sized(LEAST_BYTES - 1), false),
            ("text/csv; charset=utf-8", BodySize::Stream, true),
            ("text/event-stream", BodySize::Stream, false),
            ("application/octet-stream", BodySize::Stream, false),
            (sheets::Format::Xlsx.mime_type(), BodySize::Stream, false),
            (sheets::Format::Csv.mime_type(), BodySize::Stream, true),
            ("text/html", BodySize::None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(pays(&headers, size), expected, "{kind} {size:?}");
        }
    }
}
