//! IPv4 addresses with a prefix length.

use std::{fmt, net::Ipv4Addr, str::FromStr};

/// A host's address and the subnet it lies in, like `10.77.0.1/24`: never the address of the subnet itself, nor its
/// broadcast address, nor one that no host may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

/// Why a text is not a [`Cidr`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// There is no slash.
    #[error("{0:?} lacks the prefix length: write ADDRESS/LENGTH, like 10.77.0.1/24")]
    NoPrefix(String),
    /// The part before the slash is no IPv4 address.
    #[error("{0:?} is no IPv4 address: write four numbers from 0 to 255, like 10.77.0.1/24")]
    NotAnAddress(String),
    /// The part after the slash is no number in range.
    #[error("{0:?} is no prefix length for a network: use {min} to {max}", min = Cidr::PREFIX_MIN, max = Cidr::PREFIX_MAX)]
    BadPrefix(String),
    /// The subnet's own address.
    #[error("{given} is the address of the subnet itself: give the bridge one of its hosts, like {suggestion}")]
    Subnet {
        /// What was given.
        given: Ipv4Addr,
        /// The first host of that subnet.
        suggestion: Cidr,
    },
    /// The subnet's broadcast address.
    #[error("{given} is the broadcast address of its subnet: give the bridge one of its hosts, like {suggestion}")]
    Broadcast {
        /// What was given.
        given: Ipv4Addr,
        /// The first host of that subnet.
        suggestion: Cidr,
    },
    /// An address of a range that hosts do not use.
    #[error("{address} is {range}, which no bridge can have: use a private range like 10.77.0.1/24")]
    Unusable {
        /// What was given.
        address: Ipv4Addr,
        /// What the range is for.
        range: &'static str,
    },
}

impl Cidr {
    /// The largest subnet: a whole class A.
    pub const PREFIX_MIN: u8 = 8;
    /// The smallest subnet: the bridge and one guest.
    pub const PREFIX_MAX: u8 = 30;

    /// The address with this prefix length, if a bridge can have it.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, CidrError> {
        if !(Self::PREFIX_MIN..=Self::PREFIX_MAX).contains(&prefix) {
            return Err(CidrError::BadPrefix(prefix.to_string()));
        }
        if let Some(range) = unusable(address) {
            return Err(CidrError::Unusable { address, range });
        }
        let cidr = Self { address, prefix };
        let suggestion = Self { address: Ipv4Addr::from_bits(cidr.network().to_bits() + 1), prefix };
        match address {
            given if given == cidr.network() => Err(CidrError::Subnet { given, suggestion }),
            given if given == cidr.broadcast() => Err(CidrError::Broadcast { given, suggestion }),
            _ => Ok(cidr),
        }
    }

    /// An address as the kernel has it on some link, whatever it is; for comparing only.
    pub fn observed(address: Ipv4Addr, prefix: u8) -> Self {
        Self { address, prefix: prefix.min(32) }
    }

    /// The host's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The prefix length.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The subnet's mask.
    pub fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.mask())
    }

    /// The subnet's own address.
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & self.mask())
    }

    /// The subnet's broadcast address.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// Whether `address` lies in the subnet.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.network().to_bits()
    }

    /// Whether a guest can have `address`: in the subnet, not its first, its last nor the bridge's.
    pub fn is_guest(&self, address: Ipv4Addr) -> bool {
        self.contains(address) && ![self.network(), self.broadcast(), self.address].contains(&address)
    }

    /// Whether the subnets share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    /// How many guests fit beside the bridge.
    pub fn guest_count(&self) -> u32 {
        (!self.mask()).saturating_sub(2)
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

fn unusable(address: Ipv4Addr) -> Option<&'static str> {
    match address {
        a if a.octets()[0] == 0 => Some("of the range 0.0.0.0/8 (\"this network\")"),
        a if a.is_loopback() => Some("a loopback address"),
        a if a.is_link_local() => Some("a link-local address"),
        a if a.is_multicast() => Some("a multicast address"),
        a if a.octets()[0] >= 240 => Some("of a reserved range"),
        _ => None,
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').ok_or_else(|| CidrError::NoPrefix(text.to_owned()))?;
        let address = address.parse().map_err(|_syntax| CidrError::NotAnAddress(address.to_owned()))?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits).ok_or_else(|| CidrError::BadPrefix(prefix.to_owned()))?;
        Self::new(address, prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Cidr>().expect_err(text).to_string()
    }

    #[test]
    fn arithmetic_of_a_subnet() {
        let cidr: Cidr = "10.77.3.9/22".parse().expect("a good address");
        assert_eq!(cidr.to_string(), "10.77.3.9/22");
        assert_eq!(cidr.netmask().to_string(), "255.255.252.0");
        assert_eq!(cidr.network().to_string(), "10.77.0.0");
        assert_eq!(cidr.broadcast().to_string(), "10.77.3.255");
        assert_eq!(cidr.guest_count(), 1021);
        assert!(cidr.contains("10.77.3.255".parse().unwrap()) && !cidr.contains("10.77.4.0".parse().unwrap()));
        assert!(cidr.is_guest("10.77.0.1".parse().unwrap()));
        for not_a_guest in ["10.77.0.0", "10.77.3.255", "10.77.3.9", "10.78.0.1"] {
            assert!(!cidr.is_guest(not_a_guest.parse().unwrap()), "{not_a_guest}");
        }
    }

    #[test]
    fn the_smallest_network_holds_one_guest() {
        let cidr: Cidr = "192.168.9.1/30".parse().expect("a good address");
        assert_eq!(cidr.guest_count(), 1);
        assert!(cidr.is_guest("192.168.9.2".parse().unwrap()));
    }

    #[test]
    fn a_default_route_contains_everything() {
        let all = Cidr::observed(Ipv4Addr::UNSPECIFIED, 0);
        assert!(all.contains(Ipv4Addr::new(8, 8, 8, 8)));
        let host = Cidr::observed(Ipv4Addr::new(8, 8, 8, 8), 32);
        assert!(!host.contains(Ipv4Addr::new(8, 8, 8, 9)) && all.overlaps(&host) && host.overlaps(&all));
    }

    #[test]
    fn refuses_with_what_to_write_instead() {
        assert_eq!(
            refusal("10.77.0.1"),
            r#""10.77.0.1" lacks the prefix length: write ADDRESS/LENGTH, like 10.77.0.1/24"#
        );
        assert!(refusal("10.77.0/24").contains("is no IPv4 address"));
        assert!(refusal("fd00::1/64").contains("is no IPv4 address"));
        assert_eq!(refusal("10.77.0.1/33"), r#""33" is no prefix length for a network: use 8 to 30"#);
        assert!(refusal("10.77.0.1/31").contains("use 8 to 30"));
        assert!(refusal("10.77.0.1/-1").contains(r#""-1""#) && refusal("10.77.0.1/+8").contains(r#""+8""#));
        assert!(refusal("10.77.0.1/").contains("use 8 to 30") && refusal("10.77.0.1/24/8").contains(r#""24/8""#));
        assert!(refusal("10.77.0.0/24").ends_with("like 10.77.0.1/24"));
        assert!(refusal("10.77.0.255/24").starts_with("10.77.0.255 is the broadcast address"));
        for address in
            ["0.1.2.3/24", "127.0.0.1/8", "169.254.1.1/16", "224.0.0.1/24", "255.255.255.255/24", "240.0.0.1/24"]
        {
            assert!(refusal(address).contains("which no bridge can have"), "{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_the_same_and_is_a_host_of_its_subnet(address: u32, prefix in 0u8..40) {
            let text = format!("{}/{prefix}", Ipv4Addr::from_bits(address));
            if let Ok(cidr) = text.parse::<Cidr>() {
                proptest::prop_assert_eq!(cidr.to_string(), text);
                proptest::prop_assert!(cidr.contains(cidr.address()) && !cidr.is_guest(cidr.address()));
                proptest::prop_assert!(cidr.network() < cidr.address() && cidr.address() < cidr.broadcast());
            }
        }

        #[test]
        fn subnets_overlap_when_one_holds_the_other(a: u32, b: u32, m in 0u8..33, n in 0u8..33) {
            let (a, b) = (Cidr::observed(Ipv4Addr::from_bits(a), m), Cidr::observed(Ipv4Addr::from_bits(b), n));
            let shared = a.network().max(b.network()) <= a.broadcast().min(b.broadcast());
            proptest::prop_assert_eq!(a.overlaps(&b), shared);
            proptest::prop_assert_eq!(b.overlaps(&a), shared);
        }
    }
}
