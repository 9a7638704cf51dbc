//! What a replica takes in memory.

use acp_base::Uid;
use acp_core_sync::{Config, Effect, Origin, Sync};
use acp_dev_fuzz::peak_bytes;

use crate::harness::{EPOCH, HERE, at, key, run, sync};

const ORIGINS: u128 = 100;
const SLOTS: u64 = 100;
const VALUE_BYTES: usize = 200;
/// Bytes of a slot beside its value: a key twice with its reporter's name, what is known of it, and the nodes of three trees.
const SLOT_BYTES_MAX: usize = 500;

/// All that another node sends when it says its slots.
fn said_by(node: Uid) -> Vec<Effect> {
    let mut node = Sync::new(at(0), Origin { node, incarnation: 5 }, EPOCH, 9, Config::default());
    (0..SLOTS).for_each(|slot| assert!(node.publish(at(0), &key(slot), vec![7; VALUE_BYTES].into()).is_ok()));
    run(&mut node, at(100)).into_iter().map(|(_, effect)| effect).collect()
}

#[test]
fn a_hundred_nodes_of_a_hundred_slots_take_a_few_megabytes() {
    let others: Vec<(Uid, Vec<Effect>)> =
        (0..ORIGINS).map(|number| Uid::from_u128(1_000 + number)).map(|node| (node, said_by(node))).collect();
    let (held, peak) = peak_bytes(|| {
        let mut held = sync(HERE);
        for (node, effects) in &others {
            for effect in effects {
                let Effect::Send { bytes, .. } = effect else { continue };
                held.receive(at(100), *node, bytes).expect("fine");
                held.effects().for_each(drop);
            }
        }
        held
    });
    let slots = held.used().0;
    assert_eq!(slots as u128, ORIGINS * u128::from(SLOTS));
    println!("{peak} bytes at most, {} a slot", peak / slots);
    assert!(peak < slots * (VALUE_BYTES + SLOT_BYTES_MAX), "{peak} bytes for {slots} slots");
}
