//! `acp.cluster`: the cluster database.

mod domain;
mod history;
mod replica;

use acp_base::{Name, Uid};
use acp_wire_model::{Kind, Object, object::Facet};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zlink::introspect::Type;

use crate::Empty;

pub use domain::{AskRelayRequest, Domain, DomainLink, DomainPeer, Refused, RelayKnown, RelayReply, RelayRequest, Way};
pub use history::{GetAtReply, GetAtRequest, ListAtReply, ListAtRequest, PastObject, UndoRequest};
pub use replica::{
    Checkpoint, ControllerKey, EnterReply, EnterRequest, FollowReply, FollowRequest, Lease, ListLeasesReply,
    SnapshotPiece,
};

interface! {
    /// The cluster database: declared objects ordered by the log, and slots written by their reporters.
    "acp.cluster";
    /// Declares an object. What apply filled in (MAC, address) is in the answer.
    Once Create(CreateRequest) -> WriteReply, Write, ["hypervisor", "network", "storage"];
    /// Changes fields of an object's spec by a JSON merge patch.
    Once Update(UpdateRequest) -> WriteReply, Write, ["hypervisor", "network", "storage"];
    /// Ends a declared object.
    Once Delete(DeleteRequest) -> DeleteReply, Write, ["hypervisor", "network", "storage"];
    /// Answers one object.
    Once Get(GetRequest) -> GetReply, Read, ["framework", "hypervisor", "network", "storage", "vmm"];
    /// Answers objects in the order of their names, in batches; all but the last reply continue.
    Stream List(ListRequest) -> ListReply, Read, ["agent", "framework", "hypervisor", "network", "storage", "vmm"];
    /// Answers the state first, then every change, without gap.
    Stream Watch(WatchRequest) -> WatchReply, Read, ["agent", "framework", "hypervisor", "network", "storage"];
    /// Writes slots of the calling service. Not logged, not durable: the reporter says it again after a restart. A call
    /// without reports confirms every state the reporter has said.
    Once Publish(PublishRequest) -> PublishReply, Internal, ["framework", "hypervisor", "network", "storage"];
    /// Answers an object's spec as it was at an index of the log.
    Once GetAt(GetAtRequest) -> GetAtReply, Read, [];
    /// Answers objects' specs as they were at an index of the log, in the order of their names, in batches; all but the last
    /// reply continue.
    Stream ListAt(ListAtRequest) -> ListAtReply, Read, [];
    /// Declares the opposite of an entry: the spec's fields as they were before it. Refused if they were changed since.
    Once Undo(UndoRequest) -> WriteReply, Write, [];
    /// Answers entries, or a snapshot and then entries, to a replica that has fallen behind.
    Stream Follow(FollowRequest) -> FollowReply, Internal, ["node"];
    /// Follows the log of the cluster that this node has joined from now on, and declares this node's own objects there. The
    /// same call again goes on where the last one was interrupted.
    Once Enter(EnterRequest) -> EnterReply, Internal, ["agent"];
    /// Goes on alone, with this node's own objects in a log of its own: the node has left its cluster.
    Once Part(Empty) -> EnterReply, Internal, ["agent"];
    /// Answers who runs which floating system under which lease.
    Once ListLeases(Empty) -> ListLeasesReply, Read, ["hypervisor"];
    /// Answers entries of the log.
    Stream ReadLog(ReadLogRequest) -> ReadLogReply, Read, [];
    /// Recomputes the hash chain over the stored log and compares.
    Once VerifyLog(Empty) -> VerifyLogReply, Read, [];
    /// Answers how this node and the others of its domain hear each other.
    Once GetDomain(Empty) -> Domain, Read, [];
    /// Tells a relay of another domain what the nodes of this one say: their state, and no measurements.
    Stream Relay(RelayRequest) -> RelayReply, Internal, ["node"];
    /// Answers a relay of another domain what it lacks of this one.
    Once AskRelay(AskRelayRequest) -> RelayReply, Internal, ["node"];
    /// Answers identity, log position and counts.
    Once GetStatus(Empty) -> Status, Read, ["agent", "framework", "hub", "hypervisor", "network", "storage"];
}

/// See [`Create`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// A declared kind.
    pub kind: Kind,
    /// Unique within the kind.
    pub name: Name,
    /// The identity the object shall have; drawn by the service if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// As in this kind's `...Spec`.
    pub spec: Value,
}

/// See [`Update`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct UpdateRequest {
    /// The kind.
    pub kind: Kind,
    /// Which object.
    pub uid: Uid,
    /// RFC 7396.
    pub patch: Value,
    /// Refused with `Conflict` unless the object's version is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<u64>,
}

/// See [`Create`] and [`Update`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct WriteReply {
    /// The identity.
    pub uid: Uid,
    /// The index of the log entry, for `min_index`.
    pub index: u64,
    /// The spec as applied.
    pub spec: Value,
}

/// See [`Delete`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// The kind.
    pub kind: Kind,
    /// Which object.
    pub uid: Uid,
}

/// See [`Delete`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct DeleteReply {
    /// The index of the log entry.
    pub index: u64,
}

/// See [`Get`]: by `uid` or by `name`, exactly one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct GetRequest {
    /// The kind.
    pub kind: Kind,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Of a node-local kind asked for by name: on which node; absent: this node's, else the only one there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// Waits until the replica has applied this index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_index: Option<u64>,
    /// Whether the answer must hold everything that was acknowledged anywhere before the call: it costs a round to the
    /// control plane, and fails without a quorum.
    #[serde(default)]
    pub linearizable: bool,
    /// Whether only what this node's services report counts, or what those of other nodes do as well. Absent: of kinds that exist
    /// because they are reported the former, of declared ones the latter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<bool>,
}

/// See [`Get`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct GetReply {
    /// The object.
    pub object: Object,
    /// The index applied when it was read.
    pub index: u64,
}

/// A condition on an object: the value at `path` compared to `value`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// `name`, `uid`, or a path of keys with dots below `spec` or `meta` (the newest meta slot), like `spec.node` or
    /// `meta.state`.
    pub path: String,
    /// `eq` or `ne`.
    pub op: SelectorOp,
    /// What it is compared to, as text: numbers and booleans in their JSON form.
    pub value: String,
}

/// How a [`Selector`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum SelectorOp {
    /// Equal.
    Eq,
    /// Not equal, or not there.
    Ne,
}

/// See [`List`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ListRequest {
    /// The kind; absent: all kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// All must hold; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<Selector>,
    /// Waits until the replica has applied this index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_index: Option<u64>,
    /// As in [`GetRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<bool>,
}

/// See [`List`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListReply {
    /// A batch.
    pub objects: Vec<Object>,
    /// The index applied when the list was taken.
    pub index: u64,
}

/// See [`Watch`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// The kinds; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
    /// Continues after this cursor, if the replica still can; else the state comes first, said by `resync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Leaves out stats slots, which change all the time.
    #[serde(default)]
    pub without_stats: bool,
    /// As in [`GetRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<bool>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum WatchChange {
    /// It is as given: the state at the start, a new object, a changed spec or slot.
    Put,
    /// It is gone.
    Delete,
    /// The state is complete; what follows are changes. `object` is absent.
    Synced,
    /// The watcher was too slow or its cursor too old: forget everything, the state comes again. `object` is absent.
    Resync,
}

/// See [`Watch`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct WatchEvent {
    /// What happened.
    pub change: WatchChange,
    /// The object, whole, as it is now (for `delete`: as it was last).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Object>,
}

/// See [`Watch`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct WatchReply {
    /// In order.
    pub events: Vec<WatchEvent>,
    /// Where to continue after these events.
    pub cursor: String,
}

/// One slot, as its reporter publishes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The kind.
    pub kind: Kind,
    /// The object's identity.
    pub uid: Uid,
    /// The name; needed for reported kinds, ignored for declared ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which half.
    pub facet: Facet,
    /// The value; absent: the reporter takes its slot back. A reported object without slots is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// See [`Publish`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// The reporter's restart counter: wall time of its start in milliseconds. An older one than known is refused.
    pub incarnation: u64,
    /// Counts the reporter's publications; not above the known one of the same incarnation is refused.
    pub sequence: u64,
    /// The slots; at most 1,000.
    pub reports: Vec<Report>,
    /// Takes back every slot of this reporter that is not among the reports: the whole truth after a restart.
    #[serde(default)]
    pub replace: bool,
}

/// See [`Publish`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct PublishReply {
    /// Identities among the reports that no declared object has (any more).
    pub unknown: Vec<Uid>,
}

/// See [`ReadLog`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ReadLogRequest {
    /// First index wanted, from 1; 0 with a cursor.
    #[serde(default)]
    pub from: u64,
    /// Goes on after the entry with this [`LogEntry::cursor`], which any node may have given. Refused with
    /// `FailedPrecondition` where that entry is another one, or is no longer kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Goes on with new entries as they come.
    #[serde(default)]
    pub follow: bool,
}

/// See [`ReadLog`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ReadLogReply {
    /// In order.
    pub entries: Vec<LogEntry>,
}

/// An entry of the log with its fate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct LogEntry {
    /// The entry as in `acp_wire_model::entry::Entry`.
    pub entry: Value,
    /// The chain's hash after it, 64 hexadecimal digits.
    pub hash: String,
    /// Why apply refused it; absent: it was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// `<epoch>:<index>`: where to go on after it, on any node.
    #[serde(default)]
    pub cursor: String,
}

/// See [`VerifyLog`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct VerifyLogReply {
    /// First index kept.
    pub first: u64,
    /// Last index.
    pub last: u64,
    /// The chain's hash at the last index.
    pub hash: String,
    /// The first index whose stored hash differs from the computed one; absent: the chain verifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<u64>,
}

/// See [`GetStatus`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// The cluster's identity.
    pub cluster: Uid,
    /// This node's identity.
    pub node_uid: Uid,
    /// This node's name.
    pub node: Name,
    /// `<number>-<id>`.
    pub epoch: String,
    /// The last applied index.
    pub index: u64,
    /// The chain's hash there.
    pub hash: String,
    /// Declared objects.
    pub objects: u64,
    /// Slots held.
    pub slots: u64,
    /// Open watches.
    pub watches: u64,
    /// Bytes of the store on disk.
    pub store_bytes: u64,
    /// Why the replica does not apply further entries; empty when it does.
    pub stalled: String,
    /// Whose log it follows: `hub` (this node's own), `hub@<node>` or `cluster@<node>`; empty: nobody's just now.
    #[serde(default)]
    pub source: String,
    /// How long ago a source was last heard that could know the newest, in milliseconds: so old are reads at most. Absent: not
    /// since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ms: Option<u64>,
    /// Why nothing new is ordered or heard, in a sentence: reads answer what was known, writes fail; empty when all is well.
    #[serde(default)]
    pub degraded: String,
    /// The level of entries and formats that may occur.
    #[serde(default)]
    pub feature_level: u32,
    /// The oldest index at which specs can still be asked for.
    #[serde(default)]
    pub anchor: u64,
}
