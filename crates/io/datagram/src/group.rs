//! The group of a cluster: where its nodes multicast on a link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use acp_base::Uid;

use crate::header::{first, hash};

/// The group of this cluster in the family of `like`. Two clusters may have the same one; their datagrams are told apart all
/// the same.
///
/// IPv4: 239.255.0.0/16, the local scope (RFC 2365), without its last 256 addresses, which have meanings. IPv6: `ff15::/16`,
/// transient and of site scope, with an identifier from the range of those that nobody has assigned (RFC 3307, 4.3).
pub fn group_address(cluster: Uid, like: IpAddr) -> IpAddr {
    let [a, b, c, d] = first(&hash(b"acp datagram group", &cluster.as_u128().to_be_bytes()));
    match like {
        IpAddr::V4(_) => Ipv4Addr::new(239, 255, a % 255, b).into(),
        IpAddr::V6(_) => {
            let identifier = u32::from_be_bytes([a, b, c, d]) | 0x8000_0000;
            Ipv6Addr::from_bits((0xff15 << 112) | u128::from(identifier)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_in_their_scopes_and_differ_between_clusters() {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        for cluster in (0..1_000).map(Uid::from_u128) {
            let IpAddr::V4(group) = group_address(cluster, v4) else { panic!("it is of IPv4") };
            let [a, b, c, _] = group.octets();
            assert!((a, b) == (239, 255) && c < 255, "{group}");
            let IpAddr::V6(group) = group_address(cluster, v6) else { panic!("it is of IPv6") };
            assert!(group.segments()[..6] == [0xff15, 0, 0, 0, 0, 0] && group.segments()[6] >= 0x8000, "{group}");
        }
        assert_ne!(group_address(Uid::from_u128(1), v6), group_address(Uid::from_u128(2), v6));
    }
}
