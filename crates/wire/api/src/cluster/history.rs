//! What was: specs at an earlier index, and taking an entry back.

use acp_base::{Name, Uid};
use acp_wire_model::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zlink::introspect::Type;

use super::Selector;

/// See [`GetAt`](super::GetAt): by `uid` or by `name`, exactly one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct GetAtRequest {
    /// The kind.
    pub kind: Kind,
    /// The name that it had then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// As in [`GetRequest`](super::GetRequest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// The index; what lies before the anchor is refused with `FailedPrecondition`.
    pub index: u64,
}

/// See [`GetAt`](super::GetAt).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct GetAtReply {
    /// The identity.
    pub uid: Uid,
    /// The name.
    pub name: String,
    /// The index of the entry that had last changed the spec.
    pub version: u64,
    /// The spec.
    pub spec: Value,
    /// When the entry at the index asked for was ordered, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// See [`ListAt`](super::ListAt).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ListAtRequest {
    /// A declared kind; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// All must hold; at most 16, on `name`, `uid` and paths below `spec`: what was reported is not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<Selector>,
    /// The index; what lies before the anchor is refused with `FailedPrecondition`, what was not ordered yet with `NotFound`.
    pub index: u64,
}

/// An object as it was asked for at an index of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct PastObject {
    /// The kind.
    pub kind: Kind,
    /// The identity.
    pub uid: Uid,
    /// The name that it had.
    pub name: String,
    /// The index of the entry that had last changed the spec.
    pub version: u64,
    /// What was asked.
    pub spec: Value,
}

/// See [`ListAt`](super::ListAt).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListAtReply {
    /// A batch.
    pub objects: Vec<PastObject>,
    /// When the entry at the index asked for was ordered, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// See [`Undo`](super::Undo).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// The index of an entry that created, changed or deleted an object.
    pub index: u64,
}
