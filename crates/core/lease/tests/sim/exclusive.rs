//! **Invariant**: at no instant do two nodes run a system.

use std::collections::BTreeMap;

use acp_base::Uid;

use crate::world::{Mistake, World};

/// Worlds that are looked at.
const SEEDS: u64 = 200;

/// Two nodes that run a system.
fn look(world: &World) -> Result<(), String> {
    let mut runners: BTreeMap<Uid, Uid> = BTreeMap::new();
    for node in &world.nodes {
        for system in node.running(world.time_ms) {
            if let Some(other) = runners.insert(system, node.uid) {
                return Err(format!("at {} ms {other} and {} run {system}", world.time_ms, node.uid));
            }
        }
    }
    Ok(())
}

/// Whether a mistake is noticed in one of so many worlds.
fn noticed(mistake: Mistake, seeds: u64) -> bool {
    (0..seeds).any(|seed| World::new(seed, mistake).live(look).is_err())
}

#[test]
fn leases_are_exclusive() {
    for seed in 0..SEEDS {
        if let Err(what) = World::new(seed, Mistake::Nothing).live(look) {
            panic!("seed {seed}: {what}");
        }
    }
}

#[test]
fn a_leader_that_grants_after_three_seconds_is_noticed() {
    assert!(noticed(Mistake::GrantsAfterThreeSeconds, 60));
}

#[test]
fn a_node_that_counts_from_the_reply_is_noticed() {
    assert!(noticed(Mistake::CountsFromReply, 60));
}

#[test]
fn a_deposed_leader_that_answers_is_noticed() {
    assert!(noticed(Mistake::AnswersUnconfirmed, SEEDS));
}

#[test]
fn a_new_leader_that_extends_nothing_is_noticed() {
    assert!(noticed(Mistake::NewLeaderExtendsNothing, 50));
}

#[test]
fn a_revocation_by_who_was_deposed_is_noticed() {
    assert!(noticed(Mistake::OrdersForTheDeposed, SEEDS));
}
