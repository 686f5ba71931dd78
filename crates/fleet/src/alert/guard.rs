//! Where messages may go. Whoever may make a channel could otherwise have the notifier knock on every door of the network
//! that it stands in.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use url::{Host, Url};

/// The internal targets that a person allows, by `NOTIFY_ALLOW`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    place: Place,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Whatever addresses it has.
    Host(String),
    /// Addresses of which so many bits are these.
    Network(IpAddr, u8),
}

/// A text that is no list of targets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be hosts or networks with their ports, separated by commas, such as \
     hooks.internal:8443,10.0.0.0/8:443,[fd00::]/8:443"
)]
pub struct BadAllowed;

/// Why nothing is sent there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has an address that is not of the Internet.
    #[error("{0} has an address that is not global; NOTIFY_ALLOW={0} would allow it")]
    NotGlobal(String),
    /// It would go in clear.
    #[error("{0} is asked without TLS; use https, or allow it by NOTIFY_ALLOW={0}")]
    Clear(String),
    /// It names no host.
    #[error("its URL has no host that can be reached")]
    NoHost,
}

impl Allowed {
    /// Whether messages may go to this URL, whose host has these addresses: every one of them counts, since any of them may
    /// be taken.
    pub fn judge(&self, url: &Url, addresses: &[IpAddr]) -> Result<(), Refused> {
        let (host, port) = door(url)?;
        let named = self.names(&host, port);
        let listed = |address: &IpAddr| self.lists(*address, port);
        let told = || told(url, port);
        let all_listed = !addresses.is_empty() && addresses.iter().all(listed);
        if url.scheme() != "https" && !named && !all_listed {
            return Err(Refused::Clear(told()));
        }
        if named || addresses.iter().all(|address| listed(address) || is_global(*address)) {
            return Ok(());
        }
        Err(Refused::NotGlobal(told()))
    }

    /// What is wrong with a URL whatever its host resolves to.
    pub fn judge_unresolved(&self, url: &Url) -> Result<(), Refused> {
        let (host, port) = door(url)?;
        if let Some(address) = literal(url) {
            return self.judge(url, &[address]);
        }
        let some_network =
            self.0.iter().any(|entry| entry.port == port && matches!(entry.place, Place::Network(..)));
        if url.scheme() == "https" || some_network || self.names(&host, port) {
            return Ok(());
        }
        Err(Refused::Clear(told(url, port)))
    }

    fn names(&self, host: &str, port: u16) -> bool {
        self.0
            .iter()
            .any(|entry| entry.port == port && matches!(&entry.place, Place::Host(named) if named == host))
    }

    fn lists(&self, address: IpAddr, port: u16) -> bool {
        let within = |entry: &Entry| match entry.place {
            Place::Network(network, bits) => entry.port == port && is_within(address, network, bits),
            Place::Host(_) => false,
        };
        self.0.iter().any(within)
    }
}

/// The address that a URL has in the place of a name.
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

fn door(url: &Url) -> Result<(String, u16), Refused> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Refused::NoHost)?;
    let port = url.port_or_known_default().ok_or(Refused::NoHost)?;
    Ok((host.trim_end_matches('.').to_owned(), port))
}

fn told(url: &Url, port: u16) -> String {
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

impl FromStr for Allowed {
    type Err = BadAllowed;

    fn from_str(text: &str) -> Result<Self, BadAllowed> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(entry).collect::<Option<_>>().map(Self).ok_or(BadAllowed)
    }
}

/// `host:port`, `network/bits:port`, and with brackets around an IPv6 address.
fn entry(text: &str) -> Option<Entry> {
    let (place, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let (address, bits) = match place.rsplit_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (place, None),
    };
    let unwrapped = address.strip_prefix('[').map(|rest| rest.strip_suffix(']'));
    let address = match unwrapped {
        Some(inner) => inner?.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => address.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    };
    let place = match address {
        Some(address) => {
            let most = if address.is_ipv4() { 32 } else { 128 };
            Place::Network(address, bits.unwrap_or(most).le(&most).then_some(bits.unwrap_or(most))?)
        }
        None => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let named = bits.is_none() && !place.is_empty() && place.bytes().all(plain);
            // What a URL has in its place: `localhost`, and no number.
            let host = Url::parse(&format!("http://{place}/")).ok()?;
            let is_name = matches!(host.host(), Some(Host::Domain(_)));
            Place::Host((named && is_name).then(|| place.trim_end_matches('.').to_ascii_lowercase())?)
        }
    };
    Some(Entry { place, port })
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |one: u128, other: u128, width: u8| {
        let shift = u32::from(width - bits.min(width));
        // Of no bits everything is the same.
        bits == 0 || one >> shift == other >> shift
    };
    match (plain(address), network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            same(u32::from(address).into(), u32::from(network).into(), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => same(address.into(), network.into(), 128),
        _ => false,
    }
}

/// An IPv4 address in the form of IPv6 (`::ffff:a.b.c.d`) is that address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::from),
        IpAddr::V4(_) => address,
    }
}

/// Whether an address is one of the Internet: of nobody's own network, of this host, of a group, of documents, or kept back.
/// An address of IPv6 that stands for one of IPv4 is what that one is.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => is_global_four(four),
        IpAddr::V6(six) => is_global_six(six),
    }
}

/// The IANA registry of special addresses of IPv4.
const SPECIAL_FOUR: [([u8; 4], u8); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Groups, what is kept back, and all hosts of this network.
    ([224, 0, 0, 0], 3),
];

fn is_global_four(address: Ipv4Addr) -> bool {
    let special =
        |(network, bits): &([u8; 4], u8)| is_within(address.into(), Ipv4Addr::from(*network).into(), *bits);
    !SPECIAL_FOUR.iter().any(special)
}

/// Within 2000::/3, the only part that is given out.
const SPECIAL_SIX: [([u16; 8], u8); 5] = [
    // Protocols of the IETF, with Teredo and ORCHID.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    ([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16),
];

fn is_global_six(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let four = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match parts {
        // Mapped, and NAT64: what stands at the end.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_global_four(four(high, low))
        }
        // 6to4: what stands behind the prefix.
        [0x2002, high, low, ..] => is_global_four(four(high, low)),
        _ => {
            let special = |(network, bits): &([u16; 8], u8)| {
                is_within(address.into(), Ipv6Addr::from(*network).into(), *bits)
            };
            parts[0] & 0xe000 == 0x2000 && !SPECIAL_SIX.iter().any(special)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const GLOBAL: &str = "\
        1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
        169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 \
        198.17.255.255 198.20.0.0 223.255.255.255 2600:: 2a00:1450:4001:82b::200e 2001:200::1 \
        ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 3fff:1000::";
    const OTHER: &str = "\
        0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.255 \
        169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 \
        198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 \
        255.255.255.255 :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 \
        ::ffff:0:8.8.8.8 64:ff9b::10.0.0.1 64:ff9b::127.0.0.1 64:ff9b:1::8.8.8.8 100::1 2001::1 \
        2001:10::1 2001:20::1 2001:db8::1 2002:a00:1::1 2002:7f00:1::1 2002:a9fe:a9fe::1 3fff::1 \
        5f00::1 fc00::1 fd12:3456::1 fe80::1 fec0::1 ff02::1 4000::1";

    #[test]
    fn only_addresses_of_the_internet_are_global() {
        for text in GLOBAL.split_whitespace() {
            assert!(is_global(address(text)), "{text}");
        }
        for text in OTHER.split_whitespace() {
            assert!(!is_global(address(text)), "{text}");
        }
    }

    #[test]
    fn one_address_that_is_not_global_is_enough() {
        let none = Allowed::default();
        let https = url("https://hooks.example.org/x");
        assert_eq!(none.judge(&https, &[address("1.1.1.1"), address("2600::1")]), Ok(()));
        let refused = none.judge(&https, &[address("1.1.1.1"), address("127.0.0.1")]).unwrap_err();
        assert!(refused.to_string().contains("NOTIFY_ALLOW=hooks.example.org:443"), "{refused}");
        assert!(matches!(
            none.judge(&url("http://example.org/"), &[address("1.1.1.1")]),
            Err(Refused::Clear(_))
        ));
    }

    #[test]
    fn what_is_allowed_is_allowed_on_its_port_alone() {
        let allowed: Allowed =
            "Hooks.internal:8443, 10.0.0.0/8:9000,[fd00::]/8:443,127.0.0.1:80".parse().unwrap();
        for (text, at) in [
            ("http://hooks.internal:8443/x", "192.168.0.1"),
            ("https://hooks.internal:8443/x", "169.254.169.254"),
            ("http://10.1.2.3:9000/", "10.1.2.3"),
            ("http://any.name:9000/", "10.1.2.3"),
            ("http://any.name:9000/", "::ffff:10.1.2.3"),
            ("https://six/", "fd00::5"),
            ("http://127.0.0.1/", "127.0.0.1"),
        ] {
            assert_eq!(allowed.judge(&url(text), &[address(at)]), Ok(()), "{text}");
        }
        for (text, at) in [
            ("https://hooks.internal/x", "192.168.0.1"),
            ("https://sub.hooks.internal:8443/x", "192.168.0.1"),
            ("http://10.1.2.3:9001/", "10.1.2.3"),
            ("https://10.1.2.3/", "10.1.2.3"),
            ("https://six:444/", "fd00::5"),
            ("https://six/", "fe80::5"),
        ] {
            assert!(allowed.judge(&url(text), &[address(at)]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_of_targets_names_their_ports() {
        for bad in [
            "localhost",
            "10.0.0.0/33:1",
            "10.0.0.0/8",
            "a b:1",
            "host:0",
            "host:99999",
            "http://x:1",
            "[::1:1",
            "*:1",
            "host/8:1",
            "1.2:5",
        ] {
            assert_eq!(bad.parse::<Allowed>(), Err(BadAllowed), "{bad}");
        }
        assert_eq!("".parse(), Ok(Allowed::default()));
    }

    #[test]
    fn a_url_is_judged_before_it_is_resolved_as_far_as_can_be() {
        let none = Allowed::default();
        assert_eq!(none.judge_unresolved(&url("https://example.org/")), Ok(()));
        for bad in [
            "http://example.org/",
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://017700000001/",
        ] {
            assert!(none.judge_unresolved(&url(bad)).is_err(), "{bad}");
        }
        let some: Allowed = "10.0.0.0/8:80,hook:80".parse().unwrap();
        for good in ["http://anything/", "http://hook/", "http://10.0.0.1/"] {
            assert_eq!(some.judge_unresolved(&url(good)), Ok(()), "{good}");
        }
        assert!(some.judge_unresolved(&url("http://anything:81/")).is_err());
    }

    proptest! {
        #[test]
        fn what_stands_for_an_address_is_what_it_is(bits: u32) {
            let four = Ipv4Addr::from(bits);
            let [a, b, c, d] = four.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for six in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(is_global(six.into()), is_global(four.into()), "{}", six);
            }
            let kept = four.is_private() || four.is_loopback() || four.is_link_local() || four.is_broadcast()
                || four.is_documentation() || four.is_multicast() || four.is_unspecified();
            prop_assert!(!kept || !is_global(four.into()));
        }
    }
}
