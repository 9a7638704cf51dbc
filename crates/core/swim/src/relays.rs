//! Which nodes of a domain hear others for it, and in which order.
//!
//! A rendezvous hash of domain and node orders them, so that whoever knows the same nodes names the same relays, and who comes or
//! goes leaves the order of the others. Who counts as alive is said by whoever asks.

use acp_base::Uid;

use crate::rings::{hash, seed};

/// Relays of a domain at a time: the loss of one costs nothing, and each further one would be told everything once more.
pub const RELAYS: usize = 2;

/// The nodes in the order in which they are relays: the first [`RELAYS`] of them are.
pub fn ranked(domain: &str, nodes: impl IntoIterator<Item = Uid>) -> Vec<Uid> {
    // Another hash than that of the rings: a ring's first members are not relays all at once.
    let seed = !seed(domain);
    let mut ranked: Vec<Uid> = nodes.into_iter().collect();
    ranked.sort_unstable_by_key(|node| (hash(seed, *node), *node));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_leaves_the_order_of_the_others_and_load_is_spread() {
        let all = || (1..=20).map(Uid::from_u128);
        let before = ranked("west", all());
        let after = ranked("west", all().filter(|node| *node != before[0]));
        assert_eq!(before[1..], after[..]);
        let first = |domain: &str| ranked(domain, all())[0];
        let firsts: std::collections::BTreeSet<Uid> = (0..40).map(|domain| first(&format!("d{domain}"))).collect();
        assert!(firsts.len() > 10, "{firsts:?}");
    }
}
