//! Entries as bytes, and what a replica says that cannot read some.

use acp_base::{EpochId, Failure};
use acp_wire_model::entry::{Entry, FEATURE_LEVEL};
use serde::Deserialize;

use crate::limits::DEPTH_MAX;

/// The entry kinds this version applies, as they are tagged on the wire.
const KNOWN: [&str; 9] =
    ["genesis", "create", "update", "delete", "membership", "lease", "horizon", "feature_level", "verdict"];

/// Why a replica does not go on: it would otherwise hold something else than its peers. Nothing was changed; what runs
/// goes on running.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stall {
    /// A newer version wrote it.
    #[error("entry {index} is of the kind {kind:?}, which this version does not know: upgrade ACP on this node")]
    UnknownKind {
        /// The entry's position.
        index: u64,
        /// Its tag.
        kind: String,
    },
    /// Its bytes are no entry.
    #[error("entry {index} cannot be read: {reason}")]
    Unreadable {
        /// The position at which it was met.
        index: u64,
        /// What the decoder said.
        reason: String,
    },
    /// Something is missing in between.
    #[error("entry {found} came where entry {expected} was due")]
    Gap {
        /// The next index to apply.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// It belongs to another history.
    #[error("entry {index} is of epoch {found}, this replica is in epoch {expected}")]
    Epoch {
        /// The entry's position.
        index: u64,
        /// The replica's epoch.
        expected: EpochId,
        /// The entry's epoch.
        found: EpochId,
    },
    /// A newer version wrote its command.
    #[error(
        "entry {index} holds a command of the membership that this version does not know ({reason}): upgrade ACP on this node"
    )]
    UnknownCommand {
        /// The entry's position.
        index: u64,
        /// What does not read.
        reason: String,
    },
    /// From there on there may be what this version does not know.
    #[error(
        "entry {index} begins feature level {level}, and this version knows {FEATURE_LEVEL}: upgrade ACP on this node"
    )]
    FeatureLevel {
        /// The entry's position.
        index: u64,
        /// The level.
        level: u32,
    },
    /// The first entry is not the one that founds a cluster.
    #[error("the log does not begin with the entry that founds a cluster")]
    NoGenesis,
}

impl From<Stall> for Failure {
    fn from(stall: Stall) -> Self {
        Self::unavailable(format!("this replica has stopped applying the log: {stall}"))
    }
}

/// The entry's canonical bytes: MessagePack with field names, fields in the order of declaration, maps sorted by key.
pub fn encode(entry: &Entry) -> Vec<u8> {
    rmp_serde::to_vec_named(entry).expect("an entry holds nothing that MessagePack cannot express")
}

/// The entry that these bytes are; `due` is the position named if they are none.
///
/// # Errors
/// [`Stall::UnknownKind`] for an entry of a newer version, [`Stall::Unreadable`] for anything else.
pub fn decode(bytes: &[u8], due: u64) -> Result<Entry, Stall> {
    read(bytes).map_err(|source| match read::<Head>(bytes) {
        Ok(head) if !KNOWN.contains(&head.action.kind.as_str()) => {
            Stall::UnknownKind { index: head.index, kind: head.action.kind }
        }
        _ => Stall::Unreadable { index: due, reason: source.to_string() },
    })
}

/// What these bytes hold. Nested deeper than [`DEPTH_MAX`] they are refused: each level takes stack.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut deserializer)
}

/// What every version's entry has.
#[derive(Deserialize)]
struct Head {
    index: u64,
    action: HeadAction,
}

#[derive(Deserialize)]
struct HeadAction {
    #[serde(rename = "type")]
    kind: String,
}

#[cfg(test)]
mod tests {
    use acp_base::{Uid, WallTime};
    use acp_wire_model::{
        Kind,
        entry::{Action, NodeStanding},
    };
    use serde_json::json;

    use super::*;

    fn entry(action: Action) -> Entry {
        let epoch = EpochId { number: 1, id: Uid::from_u128(9) };
        Entry { index: 7, epoch, time: WallTime(5), actor: "root".into(), request: "r".into(), action }
    }

    #[test]
    fn every_kind_survives_encoding() {
        let name: acp_base::Name = "a".parse().expect("valid");
        let uid = Uid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        let spec = json!({"a": [1, -2, 2.5, null, true, "x"], "b": {"c": u64::MAX}});
        for action in [
            Action::Genesis { cluster: uid, node: uid, node_name: name.clone() },
            Action::Create { kind: Kind::System, name, uid, spec: spec.clone() },
            Action::Update { kind: Kind::System, uid, patch: spec.clone(), if_version: Some(3) },
            Action::Update { kind: Kind::System, uid, patch: spec, if_version: None },
            Action::Delete { kind: Kind::System, uid },
            Action::Verdict { node: uid, standing: NodeStanding::Down, evidence: "x".into(), unsaid: 0 },
            Action::Verdict { node: uid, standing: NodeStanding::Online, evidence: String::new(), unsaid: 3 },
        ] {
            let entry = entry(action);
            let bytes = encode(&entry);
            assert_eq!(decode(&bytes, 7), Ok(entry.clone()));
            assert_eq!(encode(&decode(&bytes, 7).expect("read above")), bytes, "canonical");
        }
    }

    #[test]
    fn a_kind_of_a_newer_version_is_named() {
        let newer = json!({"index": 7, "action": {"type": "teleport", "to": 2}, "more": 1});
        let bytes = rmp_serde::to_vec_named(&newer).expect("plain");
        assert_eq!(decode(&bytes, 7), Err(Stall::UnknownKind { index: 7, kind: "teleport".into() }));
    }

    #[test]
    fn other_bytes_are_unreadable() {
        for bytes in [&b""[..], b"\xc1", b"\x81", &[0x93; 2000]] {
            assert!(matches!(decode(bytes, 4), Err(Stall::Unreadable { index: 4, .. })), "{bytes:?}");
        }
    }
}
