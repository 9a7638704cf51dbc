//! One or two nodes, and messages made by hand.

use std::sync::Arc;

use acp_base::{BootInstant, EpochId, Uid};
use acp_core_sync::{
    Config, Effect, Origin, SlotKey, Sync, To,
    wire::{BASE_LEVEL, Blob, Body, Delta, FEATURE_LEVEL, Header, Item, Message, Said, decode, encode},
};
use acp_wire_model::{Kind, object::Facet};

pub(crate) const EPOCH: EpochId = EpochId { number: 3, id: Uid::from_u128(33) };
pub(crate) const HERE: Uid = Uid::from_u128(1);
pub(crate) const THERE: Uid = Uid::from_u128(2);
pub(crate) const OTHER: Uid = Uid::from_u128(3);

pub(crate) const fn at(millis: u64) -> BootInstant {
    BootInstant::from_millis(100_000 + millis)
}

pub(crate) fn sync(node: Uid) -> Sync {
    with_config(node, Config::default())
}

pub(crate) fn with_config(node: Uid, config: Config) -> Sync {
    Sync::new(at(0), Origin { node, incarnation: 5 }, EPOCH, 9, config)
}

pub(crate) fn key(slot: u64) -> SlotKey {
    SlotKey { kind: Kind::System, uid: Uid::from_u128(slot.into()), reporter: "hypervisor".into(), facet: Facet::Meta }
}

pub(crate) fn stats(slot: u64) -> SlotKey {
    SlotKey { facet: Facet::Stats, ..key(slot) }
}

pub(crate) fn item(sequence: u64, slot: u64, value: &str) -> Item {
    Item { sequence, age_ms: 0, key: key(slot), said: Said::Value(Blob(value.as_bytes().into())) }
}

pub(crate) fn gone(sequence: u64, slot: u64) -> Item {
    Item { said: Said::Gone, ..item(sequence, slot, "") }
}

/// A delta of THERE, for the sequences of its items.
pub(crate) fn delta(incarnation: u64, first: u64, last: u64, items: Vec<Item>) -> Delta {
    let origin = Origin { node: THERE, incarnation };
    Delta { origin, relayed: false, newest: last, horizon: 0, first, last, items }
}

pub(crate) fn message(body: Body) -> Vec<u8> {
    let level = if matches!(body, Body::Digests(_)) { FEATURE_LEVEL } else { BASE_LEVEL };
    encode(&Message { header: Header { level, epoch: EPOCH }, body })
}

/// What the node sends and says until then, woken when it wants to be.
pub(crate) fn run(sync: &mut Sync, until: BootInstant) -> Vec<(BootInstant, Effect)> {
    let mut effects: Vec<(BootInstant, Effect)> =
        sync.effects().map(|effect| (BootInstant::default(), effect)).collect();
    while sync.next_deadline() <= until {
        let now = sync.next_deadline();
        sync.wake(now);
        effects.extend(sync.effects().map(|effect| (now, effect)));
    }
    effects
}

/// Carries messages between nodes until then; `loses` says which do not arrive.
pub(crate) fn carry(nodes: &mut [Sync], from: u64, until: u64, mut loses: impl FnMut(&Body) -> bool) {
    for millis in from..until {
        let now = at(millis);
        for source in 0..nodes.len() {
            let uid = nodes[source].origin().node;
            nodes[source].wake(now);
            for effect in nodes[source].effects().collect::<Vec<_>>() {
                let Effect::Send { to, bytes } = effect else { continue };
                if loses(&decode(&bytes).expect("our own").body) {
                    continue;
                }
                let meant = |node: &&mut Sync| to == To::Group || to == To::Node(node.origin().node);
                for target in nodes.iter_mut().filter(meant).filter(|node| node.origin().node != uid) {
                    target.receive(now, uid, &bytes).expect("fine");
                }
            }
        }
    }
}

pub(crate) fn sent(effects: &[(BootInstant, Effect)]) -> Vec<(To, Body)> {
    let sent = effects.iter().filter_map(|(_, effect)| match effect {
        Effect::Send { to, bytes } => Some((*to, decode(bytes).expect("our own").body)),
        _ => None,
    });
    sent.collect()
}

pub(crate) fn deltas(effects: &[(BootInstant, Effect)]) -> Vec<(To, Delta)> {
    let deltas = sent(effects).into_iter().filter_map(|(to, body)| match body {
        Body::Delta(delta) => Some((to, delta)),
        _ => None,
    });
    deltas.collect()
}

/// Values held of THERE, as text.
pub(crate) fn held(sync: &Sync, now: BootInstant) -> Vec<(u64, String)> {
    let text = |value: &Arc<[u8]>| String::from_utf8_lossy(value).into_owned();
    let number = |key: &SlotKey| u64::try_from(key.uid.as_u128()).expect("small");
    sync.slots(now, THERE).map(|(key, slot)| (number(key), text(&slot.value))).collect()
}
