//! Rings of a domain.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::Uid;
use acp_core_swim::{
    rings::{Assigned, RingId, assign},
    timing::RING_MEMBERS_MAX,
};
use proptest::prelude::*;

fn ring_of(rings: &[Assigned]) -> BTreeMap<Uid, RingId> {
    rings.iter().flat_map(|ring| ring.members.iter().map(|node| (*node, ring.id))).collect()
}

/// Ids as they are drawn in practice: the time in front, the rest at random; and ids that differ in little.
fn nodes() -> impl Strategy<Value = BTreeSet<Uid>> {
    let random = any::<u128>().prop_map(Uid::from_u128);
    let close = (0..2_000_u128).prop_map(Uid::from_u128);
    prop_oneof![proptest::collection::btree_set(random, 0..300), proptest::collection::btree_set(close, 0..300),]
}

fn rings(nodes: &BTreeSet<Uid>) -> Vec<Assigned> {
    assign("berlin", &nodes.iter().copied().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_node_is_in_one_ring_that_is_neither_too_large_nor_too_small(nodes in nodes()) {
        let rings = rings(&nodes);
        let members: Vec<Uid> = rings.iter().flat_map(|ring| ring.members.clone()).collect();
        prop_assert_eq!(members.len(), nodes.len());
        prop_assert_eq!(members.into_iter().collect::<BTreeSet<_>>(), nodes);
        prop_assert_eq!(rings.iter().map(|ring| ring.id).collect::<BTreeSet<_>>().len(), rings.len());
        for ring in &rings {
            prop_assert!(ring.members.len() <= RING_MEMBERS_MAX && ring.members.is_sorted());
            prop_assert!(rings.len() == 1 || ring.members.len() >= RING_MEMBERS_MAX / 4);
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(nodes in nodes()) {
        let reversed: Vec<Uid> = nodes.iter().rev().copied().collect();
        prop_assert_eq!(assign("berlin", &reversed), rings(&nodes));
    }

    #[test]
    fn who_joins_moves_at_most_one_ring(nodes in proptest::collection::btree_set(any::<u128>().prop_map(Uid::from_u128), 1..300), new in any::<u128>()) {
        let before = ring_of(&rings(&nodes));
        let mut more = nodes.clone();
        more.insert(Uid::from_u128(new));
        let after = ring_of(&rings(&more));
        let moved = nodes.iter().filter(|node| before[*node] != after[*node]).count();
        prop_assert!(moved <= RING_MEMBERS_MAX, "{} moved", moved);
    }
}

#[test]
fn in_a_cluster_that_grows_few_nodes_move() {
    let mut state = 1_u128;
    let mut nodes = BTreeSet::new();
    let (mut before, mut moves, mut quiet) = (BTreeMap::new(), 0, 0);
    for _node in 0..1_000 {
        state = state.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        nodes.insert(Uid::from_u128(state));
        let after = ring_of(&rings(&nodes));
        let moved = before.iter().filter(|(node, ring)| after[*node] != **ring).count();
        (moves, quiet) = (moves + moved, quiet + usize::from(moved == 0));
        before = after;
    }
    eprintln!("1,000 joins: {moves} moves, {quiet} without any");
    assert!(quiet >= 950 && moves <= 3_000, "{moves} moves, {quiet} joins without any");
}

#[test]
fn another_domain_cuts_otherwise() {
    let nodes: Vec<Uid> = (0..200).map(Uid::from_u128).collect();
    assert_ne!(assign("berlin", &nodes), assign("prague", &nodes));
    assert_eq!(assign("berlin", &[]), []);
    assert_eq!(assign("berlin", &nodes[..64]), [Assigned { id: RingId(1), members: nodes[..64].to_vec() }]);
}
