//! The address that a request comes from: its network for throttling, the address itself for the audit log.

use std::{net::IpAddr, sync::Once};

use actix_web::{HttpRequest, web};
use chassis::http::network;

use crate::app::App;

/// The client's [network].
pub(crate) fn address(request: &HttpRequest) -> String {
    whole(request).map_or_else(|| "unknown".to_owned(), |address| network(address).to_string())
}

/// The client's whole address, for the audit log.
pub(crate) fn exact(request: &HttpRequest) -> Option<String> {
    whole(request).map(|address| address.to_canonical().to_string())
}

fn whole(request: &HttpRequest) -> Option<IpAddr> {
    let proxies = request.app_data::<web::Data<App>>().map_or(0, |app| app.settings.proxies);
    forwarded(request, proxies).or_else(|| request.peer_addr().map(|peer| peer.ip()))
}

/// The entry that the outermost of our `proxies` appended.
fn forwarded(request: &HttpRequest, proxies: usize) -> Option<IpAddr> {
    let headers = request.headers().get_all("x-forwarded-for");
    let entries: Vec<&str> =
        headers.filter_map(|header| header.to_str().ok()).flat_map(|h| h.split(',')).collect();
    let ours = entries.len().checked_sub(proxies).filter(|_| proxies > 0)?;
    entries.get(ours)?.trim().parse().ok()
}

/// Says once if TRUSTED_PROXIES is set and a client came past the proxy, if there is one: it could write into the header what
/// it likes, and be throttled and named in the audit log as somebody else.
pub(crate) fn notice_a_missing_proxy(request: &HttpRequest, proxies: usize) {
    static TOLD: Once = Once::new();
    if let Some(peer) = stranger(request, proxies) {
        TOLD.call_once(|| {
            tracing::warn!(
                %peer,
                "TRUSTED_PROXIES is {proxies}, but a request with X-Forwarded-For came straight from a public address; \
                 unless that is your proxy, let nobody else reach the port, or set TRUSTED_PROXIES=0: whoever reaches it \
                 writes the address that they are known by"
            );
        });
    }
}

/// The peer, if it has a public address and wrote the header that is believed.
fn stranger(request: &HttpRequest, proxies: usize) -> Option<IpAddr> {
    if proxies == 0 || !request.headers().contains_key("x-forwarded-for") {
        return None;
    }
    request.peer_addr().map(|peer| peer.ip().to_canonical()).filter(|peer| is_public(*peer))
}

/// Whether an address may be anybody's, and not of a host of ours, its network, or a container.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // 100.64.0.0/10 is shared among the customers of a provider; overlay networks use it too.
            let shared = matches!(address.octets(), [100, 64..=127, _, _]);
            let ours = address.is_private() || address.is_loopback() || address.is_link_local();
            !ours && !shared && !address.is_unspecified()
        }
        IpAddr::V6(address) => {
            let ours = address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local();
            !ours && !address.is_unspecified()
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_what_our_own_proxies_wrote_is_believed() {
        let request = TestRequest::default()
            .insert_header(("x-forwarded-for", "1.1.1.1, 2.2.2.2, 3.3.3.3"))
            .to_http_request();
        assert_eq!(forwarded(&request, 0), None);
        assert_eq!(forwarded(&request, 1), "3.3.3.3".parse().ok());
        assert_eq!(forwarded(&request, 2), "2.2.2.2".parse().ok());
        assert_eq!(forwarded(&request, 4), None);
    }

    #[test]
    fn a_client_that_comes_past_the_proxy_is_noticed() {
        let noticed = |peer: &str, header: bool, proxies| {
            let request = TestRequest::default().peer_addr(peer.parse().unwrap());
            let request =
                if header { request.insert_header(("x-forwarded-for", "1.1.1.1")) } else { request };
            stranger(&request.to_http_request(), proxies)
        };
        for peer in ["8.8.8.8:1", "[2a00:1450::1]:1", "[::ffff:8.8.8.8]:1", "172.32.0.1:1", "100.128.0.1:1"] {
            assert!(noticed(peer, true, 1).is_some(), "{peer}");
            assert_eq!((noticed(peer, false, 1), noticed(peer, true, 0)), (None, None), "{peer}");
        }
        let ours = ["127.0.0.1", "10.1.2.3", "172.17.0.1", "192.168.1.1", "169.254.0.1", "100.64.0.1"];
        for peer in ours.iter().chain(&["[::1]", "[fd00::1]", "[fe80::1]", "[::ffff:10.0.0.1]"]) {
            assert_eq!(noticed(&format!("{peer}:1"), true, 2), None, "{peer}");
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
