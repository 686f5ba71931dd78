//! The HTTP server's settings, the bearer token of a request, and the client side of the `healthcheck` subcommand.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpServer,
    dev::Server,
    http::header::AUTHORIZATION,
    web::{self, ServiceConfig},
};

use crate::{Health, health, problem};

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

/// A server on `listener` with the routes of [`health`] and those that `configure` mounts; every other is a 404. It runs
/// once it is awaited.
pub fn serve(
    listener: TcpListener,
    keep_alive: Duration,
    health: &Health,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<Server> {
    let health = web::Data::new(health.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(health.clone())
            .configure(health::routes)
            .configure(|config| configure(config))
            .default_service(web::to(problem::not_found_route))
    });
    let server = server
        .keep_alive(keep_alive)
        .client_request_timeout(CLIENT_TIMEOUT)
        .shutdown_timeout(STOPPING.as_secs())
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110, 11.1).
pub fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
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
    use actix_web::test::TestRequest;

    use super::*;

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
    fn a_wildcard_is_reached_over_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reach("[::]:80"), "[::1]:80");
        assert_eq!(reach("10.0.0.7:80"), "10.0.0.7:80");
    }
}
