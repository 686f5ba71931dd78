//! The HTTP server, the bearer token of a request, and the client side of the `healthcheck` subcommand.

mod attend;
mod doors;
mod probes;
pub mod request_id;
mod stream;

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use actix_http::{HttpService, Protocol, error::DispatchError};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App, HttpRequest,
    dev::{AppConfig, Server},
    http::header::{AUTHORIZATION, HeaderMap},
    middleware::from_fn,
    web::{self, ServiceConfig},
};

pub use self::{
    attend::made_room,
    doors::{Bounds, DoorArguments, network},
};
use self::{doors::Doors, stream::Stream};

use crate::{Health, problem};

/// Behind a proxy: longer than the 90 s for which Traefik keeps idle connections to its servers. Closing first would turn
/// into random 502, since it does not repeat a POST.
pub const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// Without a proxy every agent has a connection of its own, 16 KiB of buffers each, and uses it once an interval: this
/// closes it in between. No whole number of seconds, as intervals are, so that closing never meets a beat.
pub const KEEP_ALIVE_DIRECT: Duration = Duration::from_millis(7_500);

/// A client that has not sent its request's head by then is cut off.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests that are under way may take when it stops.
const STOPPING: Duration = Duration::from_secs(10);

/// How long what a client still sends behind an early answer is read, so that the answer reaches it.
const LINGER: Duration = Duration::from_secs(5);

/// A server on `listener` with the routes of probes and of metrics, and those that `configure` mounts; every other is a 404. It holds no
/// more than `bounds` says. It runs once it is awaited.
pub fn serve(
    listener: TcpListener,
    keep_alive: Duration,
    bounds: Bounds,
    health: &Health,
    configure: impl Fn(&mut ServiceConfig) + Send + Sync + 'static,
) -> io::Result<Server> {
    serve_routes(listener, keep_alive, Doors::new(bounds), health, Arc::new(configure))
}

/// Of no type of its caller's, so that the HTTP server is compiled once and not by each service.
fn serve_routes(
    listener: TcpListener,
    keep_alive: Duration,
    doors: Doors,
    health: &Health,
    configure: Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>,
) -> io::Result<Server> {
    let address = listener.local_addr()?;
    let health = web::Data::new(health.clone());
    let app = move || {
        App::new()
            .app_data(health.clone())
            .configure(probes::routes)
            .configure(|config| configure(config))
            .default_service(web::to(problem::not_found_route))
            .wrap(from_fn(attend::attend))
    };
    // What `HttpServer` does, with a stream of our own: it takes none.
    let builder = Server::build().shutdown_timeout(STOPPING.as_secs()).disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let builder = builder.listen("http", listener, move || {
        let (doors, stopping) = (doors.clone(), stopping.clone());
        let app = app().into_factory().map_err(|error| error.error_response());
        let http = HttpService::build()
            .keep_alive(keep_alive)
            .client_request_timeout(CLIENT_TIMEOUT)
            .client_disconnect_timeout(LINGER)
            .local_addr(address)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|stream: &Stream, data| {
                data.insert(Arc::clone(stream.connection()));
            })
            .finish(map_config(app, |()| AppConfig::default()));
        fn_service(move |io| std::future::ready(let_in(&doors, io))).and_then(http)
    })?;
    Ok(builder.run())
}

type Connected = (Stream, Protocol, Option<SocketAddr>);

fn let_in(doors: &Doors, io: tokio::net::TcpStream) -> Result<Connected, DispatchError> {
    let peer = io.peer_addr().ok();
    match doors.enter(peer.map(|peer| peer.ip())) {
        Some(pass) => Ok((Stream::new(io, pass), Protocol::Http1, peer)),
        None => {
            // A socket that was just opened has room for this; as a plain one it need not be polled for that first.
            let told = io.into_std().and_then(|mut io| io.write_all(no_place().as_bytes()));
            Err(DispatchError::Io(told.err().unwrap_or(io::ErrorKind::QuotaExceeded.into())))
        }
    }
}

/// The answer to a client that has no place, whatever it would ask for.
fn no_place() -> String {
    let body = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"code":"unavailable","detail":"too many connections are open; close some of yours, or come back"}"#;
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Retry-After: 5\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110, 11.1).
pub fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Reads where to listen: an IP address and a port. Names are not looked up, since one may be several addresses, and another
/// tomorrow; `localhost` is 127.0.0.1.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok()).unwrap_or("8080");
    local.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!(
            "write an IP address and a port: 127.0.0.1:{port} (or localhost:{port}) for this host alone, 0.0.0.0:{port} \
             for all of its addresses, [::1]:{port} for IPv6"
        )
    })
}

/// Whether a proxy handed the request on, as it says itself.
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    let by = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded", "via"];
    by.iter().any(|name| headers.contains_key(*name))
}

/// Whether the other end of the connection is on this host. A proxy is, too: see [`is_forwarded`].
pub fn is_local(peer: Option<SocketAddr>) -> bool {
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

/// Where a process on this host reaches what listens on `listen`.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, listen.port())
}

/// Asks the process that listens on `listen` whether it is ready. For images without a shell or curl, hence without
/// an HTTP client: one request, and the status line of its answer.
pub fn healthcheck(listen: SocketAddr) -> Result<(), String> {
    let address = reachable(listen);
    let timeout = Duration::from_secs(3);
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        write!(stream, "GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(64 * 1024).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("nothing answers on {address}: {error}"))?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status == "200" { Ok(()) } else { Err(format!("not ready: {address} answers {status}")) }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use actix_web::{HttpResponse, rt::System, test::TestRequest, web::Bytes};

    use super::*;
    use crate::Problem;

    const BOUNDS: Bounds = Bounds { connections: 100, per_address: None, bytes: 1024 * 1024 };

    async fn echo(body: Result<Bytes, actix_web::Error>) -> Result<HttpResponse, Problem> {
        let made_room = |error: &actix_web::Error| error.as_error().is_some_and(made_room);
        match body {
            Ok(body) => Ok(HttpResponse::Ok().body(body)),
            Err(error) if made_room(&error) => Err(Problem::unavailable(1)),
            Err(_) => Err(Problem::internal()),
        }
    }

    /// A server that says what it is told, in a thread of its own.
    fn start(bounds: Bounds) -> SocketAddr {
        start_behind(Doors::new(bounds))
    }

    fn start_behind(doors: Doors) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let configure = |config: &mut ServiceConfig| {
                config.app_data(web::PayloadConfig::new(8 * 1024 * 1024)).route("/", web::post().to(echo));
            };
            let server =
                serve_routes(listener, KEEP_ALIVE, doors, &Health::new(&[]), Arc::new(configure)).unwrap();
            System::new().block_on(server).unwrap();
        });
        address
    }

    /// All that comes back for `text`, which has to end the connection.
    fn answer(address: SocketAddr, text: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(text).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn post(more: &str, body: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: x\r\n{more}\r\n{body}")
    }

    #[test]
    fn what_comes_in_one_packet_is_answered_in_its_order() {
        let address = start(BOUNDS);
        let sized = |body: &str| post(&format!("Content-Length: {}\r\n", body.len()), body);
        let live = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
        let last = post("Content-Length: 4\r\nConnection: close\r\n", "last");
        let chunked = post("Transfer-Encoding: chunked\r\n", "4\r\nin\n\n\r\n6\r\n\r\n\r\nxy\r\n0\r\n\r\n");
        let text = [&sized("one\n\n\r\n\r\n"), live, &chunked, &sized(""), live, &last].concat();
        let answer = answer(address, text.as_bytes());
        let bodies: Vec<&str> = answer.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
        assert_eq!(bodies.len(), 6, "{answer}");
        for (body, end) in
            bodies.iter().zip(["one\n\n\r\n\r\n", "}", "in\n\n\r\n\r\nxy", "\r\n\r\n", "}", "\r\n\r\nlast"])
        {
            assert!(body.ends_with(end), "{body:?} {end:?}");
        }
    }

    #[test]
    fn many_requests_at_once_are_all_answered() {
        let address = start(BOUNDS);
        let live = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2_000);
        let last = "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = answer(address, format!("{live}{last}").as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2_001);
    }

    #[test]
    fn a_large_body_comes_through_whatever_is_in_it() {
        let address = start(Bounds { bytes: 8 * 1024 * 1024, ..BOUNDS });
        let body = "\n".repeat(3 * 1024 * 1024);
        let head = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
        let answer = answer(address, post(&head, &body).as_bytes());
        assert!(answer.ends_with(&body), "{} bytes", answer.len());
    }

    #[test]
    fn a_body_is_asked_for_where_its_sender_waits_for_that() {
        let address = start(BOUNDS);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(post("Content-Length: 2\r\nExpect: 100-continue\r\n", "").as_bytes()).unwrap();
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"ok").unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }

    #[test]
    fn the_body_that_was_waited_for_longest_is_answered_503_when_there_is_no_more_memory() {
        let doors = Doors::new(Bounds { bytes: 100_000, ..BOUNDS });
        let address = start_behind(doors.clone());
        let half = post("Content-Length: 80000\r\n", &"x".repeat(60_000));
        let connect = || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // Each is known to the server before the next one comes.
            stream.write_all(post("Content-Length: 1\r\n", "!").as_bytes()).unwrap();
            let mut answer = [0];
            while answer != *b"!" {
                stream.read_exact(&mut answer).unwrap();
            }
            stream
        };
        let (mut first, mut second) = (connect(), connect());
        first.write_all(half.as_bytes()).unwrap();
        // It is another thread that reads the second.
        let begun = Instant::now();
        while doors.held() < 55_000 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} bytes are held", doors.held());
            std::thread::yield_now();
        }
        second.write_all(half.as_bytes()).unwrap();
        let mut answer = String::new();
        first.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        second.write_all("x".repeat(20_000).as_bytes()).unwrap();
        let mut answer = [0; 15];
        second.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }

    #[test]
    fn an_answer_has_the_id_of_its_request_and_a_problem_tells_it() {
        let address = start(BOUNDS);
        let request = |id: &str| {
            format!("GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-Id: {id}\r\nConnection: close\r\n\r\n")
        };
        let given = answer(address, request("from-the-proxy").as_bytes());
        assert!(given.contains("x-request-id: from-the-proxy\r\n"), "{given}");
        assert!(given.contains("\"request_id\":\"from-the-proxy\""), "{given}");
        let made = answer(address, request("<b>").as_bytes());
        let id = made.split("x-request-id: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
        assert!(made.contains(&format!("\"request_id\":\"{id}\"")) && id != "<b>", "{made}");
    }

    #[test]
    fn a_client_without_a_place_is_told_so() {
        let answer = no_place();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["status"], &body["code"]), (&503.into(), &"unavailable".into()));
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        let token = |header: &str| {
            let request = TestRequest::default().insert_header((AUTHORIZATION, header)).to_http_request();
            bearer(&request).map(str::to_owned)
        };
        for header in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(token(header).as_deref(), Some("abc"), "{header}");
        }
        for header in ["", "abc", "Bearer", "Basic abc", "Bearerabc"] {
            assert_eq!(token(header), None, "{header}");
        }
        assert_eq!(bearer(&TestRequest::default().to_http_request()), None);
    }

    #[test]
    fn where_to_listen_is_an_address_or_what_to_write_instead_is_said() {
        for (text, address) in [
            ("127.0.0.1:8199", "127.0.0.1:8199"),
            ("localhost:8199", "127.0.0.1:8199"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(listen_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in [
            "8199",
            ":8199",
            "rollcall.example.org:8199",
            "localhost",
            "::1:8199",
            "localhost:http",
            "http://localhost:8199",
        ] {
            let port = if text.ends_with("8199") { "8199" } else { "8080" };
            let told = listen_address(text).unwrap_err();
            assert!(told.contains(&format!("127.0.0.1:{port} (or localhost:{port})")), "{text}: {told}");
        }
    }

    #[test]
    fn a_wildcard_is_reached_over_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reach("[::]:80"), "[::1]:80");
        assert_eq!(reach("10.0.0.7:80"), "10.0.0.7:80");
    }
}
