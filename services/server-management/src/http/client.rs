//! The address that a request comes from: its network for throttling, the address itself for the audit log.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::{HttpRequest, web};

use crate::app::App;

/// The client's address; for IPv6 its /64 network, since all of that belongs to one household or host.
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

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
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
    fn addresses_of_one_ipv6_network_are_one() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
