//! Which nodes watch each other: the nodes of a domain, cut into rings.
//!
//! The nodes are ordered by a hash and cut where a bit of it changes, again and again, until each part is small enough. Nothing is
//! remembered, so every hub computes the same rings from the same list. A ring is named by how it was cut off.
//!
//! **Invariants**: each node is in exactly one ring; a ring has at most [`RING_MEMBERS_MAX`] members and, where there are several,
//! at least a quarter of that; who joins or leaves moves nobody, or the members of the one ring that is cut or of the two that
//! become one.

use acp_base::Uid;

use crate::timing::RING_MEMBERS_MAX;

/// A ring of one domain: the cuts that lead to it, as bits after a leading one. One ring alone is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingId(pub u64);

/// A group of nodes that watch each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Its name within the domain.
    pub id: RingId,
    /// Its members, in order.
    pub members: Vec<Uid>,
}

/// Cuts the nodes of `domain`, which are all different, into rings, in the order of their names.
pub fn assign(domain: &str, nodes: &[Uid]) -> Vec<Assigned> {
    let seed = seed(domain);
    let mut order: Vec<(u64, Uid)> = nodes.iter().map(|node| (hash(seed, *node), *node)).collect();
    order.sort_unstable();
    let mut rings = Vec::new();
    cut(&order, RingId(1), 0, &mut rings);
    rings.sort_by_key(|ring| ring.id);
    rings
}

/// What the hashes of a domain's nodes begin with.
pub(crate) fn seed(domain: &str) -> u64 {
    domain.bytes().fold(0, |seed, byte| mix(seed ^ u64::from(byte)))
}

fn cut(part: &[(u64, Uid)], id: RingId, bit: u32, rings: &mut Vec<Assigned>) {
    if part.is_empty() {
        return;
    }
    if part.len() <= RING_MEMBERS_MAX {
        let mut members: Vec<Uid> = part.iter().map(|(_hash, node)| *node).collect();
        members.sort_unstable();
        rings.push(Assigned { id, members });
        return;
    }
    let (low, high) = part.split_at(border(part, bit));
    cut(low, RingId(id.0 << 1), bit + 1, rings);
    cut(high, RingId(id.0 << 1 | 1), bit + 1, rings);
}

/// Where the bit changes; in the middle if that would leave less than a quarter on one side, which also ends the cutting after
/// few steps whatever the hashes are.
fn border(part: &[(u64, Uid)], bit: u32) -> usize {
    let mask = (1_u64 << 63).checked_shr(bit).unwrap_or(0);
    let border = part.partition_point(|(hash, _node)| hash & mask == 0);
    let least = part.len().div_ceil(4);
    if border < least || part.len() - border < least { part.len() / 2 } else { border }
}

pub(crate) fn hash(seed: u64, node: Uid) -> u64 {
    let bits = node.as_u128();
    let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or_default());
    mix(mix(seed ^ high) ^ low)
}

/// The last step of `SplitMix64` (Steele, Lea, Flood 2014).
const fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_that_hardly_differ_are_cut_in_the_middle() {
        let mut part: Vec<(u64, Uid)> = (0..1_000).map(|number| (7, Uid::from_u128(number))).collect();
        part[0].0 = 6;
        let mut rings = Vec::new();
        cut(&part, RingId(1), 0, &mut rings);
        assert!(rings.iter().all(|ring| (62..=63).contains(&ring.members.len())), "{rings:?}");
        assert_eq!(rings.iter().map(|ring| ring.members.len()).sum::<usize>(), 1_000);
    }
}
