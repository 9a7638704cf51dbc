//! A slot's value between nodes: what is opaque to the replication.
//!
//! JSON, `[incarnation, sequence, name, data]`: the data is JSON already, and only copied.

use std::sync::Arc;

use acp_base::{BootInstant, Name, Uid};
use acp_core_cdb::{Heard, HeardValue, SlotId, SlotRecord};
use acp_core_sync::{Slot, SlotKey};
use serde_json::Value;

/// The slot as the replication knows it: the reporter without its node, which is the origin.
pub(super) fn key(id: &SlotId) -> SlotKey {
    let reporter = id.reporter.rsplit_once('@').map_or(&*id.reporter, |(noun, _node)| noun);
    SlotKey { kind: id.kind, uid: id.uid, reporter: Arc::from(reporter), facet: id.facet }
}

/// What the slot says, as it travels.
pub(super) fn encode(name: Option<&str>, slot: &SlotRecord) -> Arc<[u8]> {
    let value = (slot.incarnation, slot.sequence, name, &slot.data);
    serde_json::to_vec(&value).expect("numbers, a text and JSON are written as JSON").into()
}

/// What `node` is heard to say; none if it cannot be read.
pub(super) fn heard(now: BootInstant, node: (Uid, &Name), key: &SlotKey, slot: Option<&Slot>) -> Option<Heard> {
    let value = match slot {
        None => None,
        Some(slot) => {
            let (incarnation, sequence, name, data): (u64, u64, Option<String>, Value) =
                serde_json::from_slice(&slot.value).ok()?;
            Some(HeardValue { incarnation, sequence, name, said: before(now, slot.age), data })
        }
    };
    let reporter = reporter(&key.reporter, node.1);
    let slot = SlotId { kind: key.kind, uid: key.uid, reporter, facet: key.facet };
    Some(Heard { origin: node.0, slot, value })
}

/// A reporter's name with its node's.
pub(super) fn reporter(noun: &str, node: &Name) -> Arc<str> {
    Arc::from(format!("{noun}@{node}"))
}

/// So long ago.
pub(super) fn before(now: BootInstant, age: std::time::Duration) -> BootInstant {
    let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    BootInstant::from_nanos(now.as_nanos().saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use acp_core_cdb::Json;
    use acp_wire_model::{Kind, object::Facet};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slot_is_heard_as_it_was_said() {
        let id = SlotId {
            kind: Kind::Volume,
            uid: Uid::from_u128(4),
            reporter: Arc::from("storage@n1"),
            facet: Facet::Meta,
        };
        let data = json!({"size": 7});
        let record = SlotRecord {
            reporter: Arc::clone(&id.reporter),
            origin: None,
            facet: id.facet,
            incarnation: 3,
            sequence: 9,
            received: BootInstant::from_millis(1),
            data: Json::new(&data),
        };
        let value = encode(Some("default/v"), &record);
        let slot = Slot { value, sequence: 1, age: Duration::from_millis(40), relayed: false };
        let (node, now) = ("renamed".parse().expect("a name"), BootInstant::from_millis(100));
        let heard = heard(now, (Uid::from_u128(1), &node), &key(&id), Some(&slot)).expect("readable");
        let value = heard.value.expect("a value");
        assert_eq!((&*heard.slot.reporter, heard.origin), ("storage@renamed", Uid::from_u128(1)));
        assert_eq!((value.incarnation, value.sequence, value.name.as_deref()), (3, 9, Some("default/v")));
        assert_eq!((value.said, value.data), (BootInstant::from_millis(60), data));
        let garbage = Slot { value: Arc::from(*b"{}"), ..slot };
        assert_eq!(super::heard(now, (Uid::from_u128(1), &node), &key(&id), Some(&garbage)), None);
    }
}
