//! The addresses of a network.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr, str::FromStr};

use crate::limits::{PREFIX_MAX, PREFIX_MIN};

/// A bridge's IPv4 address with the subnet it stands in. The address is neither the subnet's own nor its broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    gateway: u32,
    prefix: u8,
}

/// Why a text is no [`Subnet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Not an address, a slash and a prefix length.
    #[error("{0:?} is no address with prefix length: write it like 10.77.0.1/24")]
    Malformed(String),
    /// The prefix is too short or too long.
    #[error("the prefix length of {0:?} is not within /{PREFIX_MIN} to /{PREFIX_MAX}")]
    PrefixOutOfRange(String),
    /// The address names the subnet or its broadcast.
    #[error("{0:?} is the first or last address of its subnet, which no interface can have")]
    NotAHost(String),
    /// Loopback, group or reserved addresses.
    #[error("{0:?} lies in a range that guests cannot use (loopback, multicast or reserved)")]
    Reserved(String),
}

impl Subnet {
    /// The bridge's address.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway.into()
    }

    /// Whether a guest may have this address: inside, not the first, the last or the bridge's.
    pub fn admits(&self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        (self.first()..=self.last()).contains(&address) && address != self.gateway
    }

    /// Whether any address lies in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.network() <= other.broadcast() && other.network() <= self.broadcast()
    }

    /// The lowest address a guest may have that is neither in `taken`, which is sorted, nor in `also`.
    pub(crate) fn lowest_free(&self, taken: impl Iterator<Item = u32>, also: &BTreeSet<u32>) -> Option<Ipv4Addr> {
        let skip = |mut address: u32| {
            while address == self.gateway || also.contains(&address) {
                address += 1;
            }
            address
        };
        let mut candidate = skip(self.first());
        for taken in taken.skip_while(|taken| *taken < self.first()) {
            if taken > candidate {
                break;
            }
            if taken == candidate {
                candidate = skip(candidate + 1);
            }
        }
        (candidate <= self.last()).then(|| candidate.into())
    }

    fn network(&self) -> u32 {
        self.gateway & (u32::MAX << (32 - self.prefix))
    }

    fn broadcast(&self) -> u32 {
        self.network() | (u32::MAX >> self.prefix)
    }

    fn first(&self) -> u32 {
        self.network() + 1
    }

    fn last(&self) -> u32 {
        self.broadcast() - 1
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let malformed = || SubnetError::Malformed(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(malformed)?;
        let address: Ipv4Addr = address.parse().map_err(|_source| malformed())?;
        let prefix: u8 = prefix.parse().map_err(|_source| malformed())?;
        if format!("{address}/{prefix}") != text {
            return Err(malformed());
        }
        if !(PREFIX_MIN..=PREFIX_MAX).contains(&prefix) {
            return Err(SubnetError::PrefixOutOfRange(text.to_owned()));
        }
        let [high, ..] = address.octets();
        if high == 0 || high == 127 || high >= 224 {
            return Err(SubnetError::Reserved(text.to_owned()));
        }
        let subnet = Self { gateway: address.into(), prefix };
        if !(subnet.first()..=subnet.last()).contains(&subnet.gateway) {
            return Err(SubnetError::NotAHost(text.to_owned()));
        }
        Ok(subnet)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.gateway(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().expect(text)
    }

    #[test]
    fn refuses_what_no_bridge_can_have() {
        for bad in
            ["", "10.0.0.1", "10.0.0.1/", "10.0.0.1/+24", "10.0.0.1/024", "10.0.0.300/24", "::1/64", "10.0.0.1/24 "]
        {
            assert_eq!(bad.parse::<Subnet>(), Err(SubnetError::Malformed(bad.into())));
        }
        for bad in ["10.0.0.1/7", "10.0.0.1/31", "10.0.0.1/0"] {
            assert_eq!(bad.parse::<Subnet>(), Err(SubnetError::PrefixOutOfRange(bad.into())));
        }
        for bad in ["10.0.0.0/24", "10.0.0.255/24"] {
            assert_eq!(bad.parse::<Subnet>(), Err(SubnetError::NotAHost(bad.into())));
        }
        for bad in ["127.0.0.1/24", "224.0.0.1/24", "0.0.0.1/8", "255.1.1.1/24"] {
            assert_eq!(bad.parse::<Subnet>(), Err(SubnetError::Reserved(bad.into())));
        }
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        let pairs = [
            ("10.0.0.1/24", "10.0.0.129/25", true),
            ("10.0.0.1/24", "10.0.1.1/24", false),
            ("10.0.0.1/8", "10.200.3.1/30", true),
            ("10.0.0.1/30", "10.0.0.5/30", false),
        ];
        for (one, other, expected) in pairs {
            assert_eq!(subnet(one).overlaps(&subnet(other)), expected);
            assert_eq!(subnet(other).overlaps(&subnet(one)), expected);
        }
    }

    #[test]
    fn the_lowest_free_address_skips_bridge_and_holders() {
        let net = subnet("10.0.0.1/29");
        let addr = |last: u32| u32::from(Ipv4Addr::new(10, 0, 0, 0)) + last;
        let free = |taken: &[u32], also: &[u32]| {
            let also = also.iter().map(|last| addr(*last)).collect();
            net.lowest_free(taken.iter().map(|last| addr(*last)), &also).map(|address| u32::from(address) - addr(0))
        };
        assert_eq!(free(&[], &[]), Some(2));
        assert_eq!(free(&[2, 3, 5], &[]), Some(4));
        assert_eq!(free(&[2, 4], &[3]), Some(5));
        assert_eq!(free(&[3], &[2]), Some(4));
        assert_eq!(free(&[2, 3, 4, 5, 6], &[]), None);
        assert_eq!(free(&[2, 3, 4, 5], &[6]), None);
        assert!(net.admits(Ipv4Addr::new(10, 0, 0, 6)) && !net.admits(Ipv4Addr::new(10, 0, 0, 7)));
        assert!(!net.admits(Ipv4Addr::new(10, 0, 0, 1)) && !net.admits(Ipv4Addr::new(10, 0, 0, 8)));
    }
}
