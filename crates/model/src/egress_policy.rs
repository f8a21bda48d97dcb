//! The egress policy: the addresses that a customer's URL may lead to. It must not reach the deployment's own network.
//!
//! [`EgressPolicy::url`] refuses URLs that can only be wrong, when a URL is stored and again when it is called. A name
//! says nothing before it is resolved, so the HTTP client asks [`EgressPolicy::admit`] about each address before it
//! connects.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::{FromStr, ParseBoolError},
};

use url::{Host, Url};

/// The addresses that may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressPolicy {
    /// Public addresses, over `https`. The policy of every deployment.
    PublicOnly,
    /// Also this machine, and `http`. The policy of a local stack.
    Local,
}

/// The reason for which a URL is refused, in words for its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// The text is no URL, or parsers disagree about it.
    #[error("Input should be a valid URL, such as https://example.com/events")]
    Malformed,
    /// The scheme is neither `https` nor, under [`EgressPolicy::Local`], `http`.
    #[error("URL scheme should be {0}")]
    Scheme(&'static str),
    /// It has a user name or a password.
    #[error("URL should have no user name and no password; a header can carry them")]
    UserInfo,
    /// Its host can only be private.
    #[error("URL should point to a public address")]
    NotPublic,
}

impl EgressPolicy {
    /// Parses a URL. A name's addresses are checked later, by [`EgressPolicy::admit`].
    pub fn url(self, text: &str) -> Result<Url, BadUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadUrl::Malformed)?;
        let https = scheme.eq_ignore_ascii_case("https");
        match self {
            Self::PublicOnly if !https => return Err(BadUrl::Scheme("'https'")),
            Self::Local if !https && !scheme.eq_ignore_ascii_case("http") => {
                return Err(BadUrl::Scheme("'http' or 'https'"));
            }
            _ => {}
        }
        // Parsers would mend these, each in its own way.
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if !visible || rest.starts_with(['/', '?', '#']) {
            return Err(BadUrl::Malformed);
        }
        // This parser knows every notation of IPv4 addresses: 127.1, 0x7f.0.0.1, 017700000001, 2130706433.
        let url = Url::parse(text).map_err(|_| BadUrl::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::UserInfo);
        }
        let admitted = match url.host() {
            Some(Host::Ipv4(address)) => self.admit(address.into()),
            Some(Host::Ipv6(address)) => self.admit(address.into()),
            Some(Host::Domain(name)) => self == Self::Local || !is_localhost(name),
            None => return Err(BadUrl::Malformed),
        };
        if url.port() == Some(0) {
            return Err(BadUrl::Malformed);
        }
        if admitted { Ok(url) } else { Err(BadUrl::NotPublic) }
    }

    /// Whether a client may connect to this address.
    #[must_use]
    pub fn admit(self, address: IpAddr) -> bool {
        let public = match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        };
        public || self == Self::Local && address.is_loopback()
    }
}

/// A setting says `true` for [`EgressPolicy::Local`], `false` for [`EgressPolicy::PublicOnly`].
impl FromStr for EgressPolicy {
    type Err = ParseBoolError;

    fn from_str(local: &str) -> Result<Self, Self::Err> {
        Ok(if local.parse()? { Self::Local } else { Self::PublicOnly })
    }
}

/// RFC 6761, section 6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// IANA's registry of special-purpose IPv4 addresses (2026), and multicast.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),         // this network; 0.0.0.0 connects to this machine
    (Ipv4Addr::new(10, 0, 0, 0), 8),    // private
    (Ipv4Addr::new(100, 64, 0, 0), 10), // shared by customers of a carrier
    (Ipv4Addr::new(127, 0, 0, 0), 8),   // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local: clouds serve credentials here
    (Ipv4Addr::new(172, 16, 0, 0), 12), // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),  // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),  // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16), // private
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),   // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),   // reserved, broadcast
];

/// Special-purpose ranges within [`GLOBAL_UNICAST`]. Every address outside of it is special, too.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, benchmarking, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// IPv4 addresses inside IPv6 addresses, for networks without IPv4 (RFC 6052).
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|(network, bits)| (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within =
        |(network, bits): &(Ipv6Addr, u32)| (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0;
    if within(&NAT64) {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    within(&GLOBAL_UNICAST) && !SPECIAL_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRIVATE: [&str; 48] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "3fff::1",
        "4000::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];

    #[test]
    fn private_and_special_addresses_are_not_called_even_in_local_mode() {
        for address in PRIVATE {
            let address = address.parse().unwrap();
            assert!(!EgressPolicy::PublicOnly.admit(address), "{address}");
            assert!(!EgressPolicy::Local.admit(address), "{address} in local mode");
        }
    }

    #[test]
    fn this_machine_is_called_in_local_mode_only() {
        for address in ["127.0.0.1", "127.255.255.255", "::1"] {
            let address = address.parse().unwrap();
            assert!(!EgressPolicy::PublicOnly.admit(address), "{address}");
            assert!(EgressPolicy::Local.admit(address), "{address} in local mode");
        }
    }

    #[test]
    fn public_addresses_next_to_special_ones_are_called() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700:4700::1111",
            "3ffe::1",
        ] {
            assert!(EgressPolicy::PublicOnly.admit(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_private_host_is_refused_in_every_notation() {
        for host in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0177.0.0.1",
            "017700000001",
            "0x7f.0.0.1",
            "0x7f000001",
            "%31%32%37.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "localhost",
            "LOCALHOST.",
            "api.localhost",
            "10.0.0.1",
            "192.168.1.1:8443",
            "169.254.169.254",
            "0xa9fea9fe",
            "0",
        ] {
            let url = format!("https://{host}/hook");
            assert_eq!(EgressPolicy::PublicOnly.url(&url), Err(BadUrl::NotPublic), "{host}");
        }
    }

    #[test]
    fn the_setting_is_a_boolean() {
        assert_eq!("true".parse(), Ok(EgressPolicy::Local));
        assert_eq!("false".parse(), Ok(EgressPolicy::PublicOnly));
        assert!("yes".parse::<EgressPolicy>().is_err());
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_as_public_as_its_nat64_form(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let form: Ipv6Addr = format!("64:ff9b::{address}").parse().unwrap();
            prop_assert_eq!(is_public_v4(address), is_public_v6(form));
        }

        #[test]
        fn whatever_the_standard_library_calls_special_is_not_public(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_unspecified()
                || address.is_multicast();
            prop_assert!(!(special && is_public_v4(address)));
        }

        #[test]
        fn a_mapped_address_is_never_called(bits: u32) {
            prop_assert!(!EgressPolicy::Local.admit(Ipv4Addr::from_bits(bits).to_ipv6_mapped().into()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(https?://)?[ -~]{0,40}") {
            if let Ok(url) = EgressPolicy::PublicOnly.url(&text) {
                prop_assert!(url.scheme() == "https" && url.host().is_some() && url.username().is_empty());
            }
        }
    }
}
