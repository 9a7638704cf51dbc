//! The declared objects: what the log says.

mod act;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use acp_base::{EpochId, Name, Uid, WallTime};
use acp_wire_model::{
    Kind,
    entry::{Action, Entry},
    image::ImageSpec,
    network::NetworkSpec,
    pool::PoolSpec,
};
use serde_json::Value;

use crate::{
    claims::Claims,
    codec::{Stall, decode},
    hash::Hash,
    json::Json,
    refusal::Refusal,
    spec::Spec,
    subnet::Subnet,
};

/// A declared object.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The kind.
    pub kind: Kind,
    /// Unique within the kind.
    pub name: Name,
    /// The identity.
    pub uid: Uid,
    /// The index of the entry that last changed the spec.
    pub version: u64,
    /// The spec with everything in it, also what this version does not know.
    pub value: Arc<Value>,
    /// The same as it is sent.
    pub json: Json,
    /// The spec as this version understands it.
    pub spec: Spec,
}

impl Record {
    pub(crate) fn new(kind: Kind, name: Name, uid: Uid, version: u64, value: Value, spec: Spec) -> Self {
        Self { kind, name, uid, version, json: Json::new(&value), value: Arc::new(value), spec }
    }
}

/// Who the cluster is, and its first node: said by the first entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: Uid,
    /// The first node.
    pub node: Uid,
    /// The first node's name.
    pub node_name: Name,
    /// The epoch.
    pub epoch: EpochId,
}

/// What an entry came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was applied.
    Done(Done),
    /// It was decided against; it counts as applied and changed nothing.
    Refused(Refusal),
    /// It could not be judged; it does not count as applied, and nothing after it will.
    Stalled(Stall),
}

/// An entry that was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// What happened to the object.
    pub effect: Effect,
    /// The object after it; for a delete, as it was last.
    pub record: Arc<Record>,
}

/// What an entry did to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is new or has changed.
    Put,
    /// It was so already.
    Unchanged,
    /// It is gone.
    Delete,
}

/// Everything the log says, up to one index.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    identity: Option<Identity>,
    index: u64,
    hash: Hash,
    time: WallTime,
    tombstones: BTreeSet<Uid>,
    by_uid: BTreeMap<Uid, Arc<Record>>,
    by_name: BTreeMap<Kind, BTreeMap<Name, Arc<Record>>>,
    claims: Claims,
    stalled: Option<Stall>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            identity: None,
            index: 0,
            hash: Hash::ZERO,
            time: WallTime(0),
            tombstones: BTreeSet::new(),
            by_uid: BTreeMap::new(),
            by_name: BTreeMap::new(),
            claims: Claims::default(),
            stalled: None,
        }
    }
}

impl State {
    /// A state that stands at this index and has no objects yet.
    pub(crate) fn at(identity: Identity, index: u64, hash: Hash, time: WallTime, tombstones: BTreeSet<Uid>) -> Self {
        Self { identity: Some(identity), index, hash, time, tombstones, ..Self::default() }
    }

    /// Applies the next entry, given as the bytes that were ordered. Total: whatever the bytes are, there is an outcome, the
    /// same on every replica of this version. After a stall every entry stalls with the same reason.
    pub fn apply(&mut self, bytes: &[u8]) -> Outcome {
        if let Some(stall) = &self.stalled {
            return Outcome::Stalled(stall.clone());
        }
        let due = self.index + 1;
        match decode(bytes, due).and_then(|entry| self.expect(due, &entry).map(|()| entry)) {
            Ok(entry) => {
                self.index = due;
                self.hash = self.hash.link(bytes);
                self.time = entry.time;
                self.act(entry).map_or_else(Outcome::Refused, Outcome::Done)
            }
            Err(stall) => {
                self.stalled = Some(stall.clone());
                Outcome::Stalled(stall)
            }
        }
    }

    /// The last applied index; 0 before the first entry.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The chain's hash there.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// When the last applied entry was ordered.
    pub const fn time(&self) -> WallTime {
        self.time
    }

    /// Who the cluster is; none before the first entry.
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Why no further entry is applied, if so.
    pub const fn stalled(&self) -> Option<&Stall> {
        self.stalled.as_ref()
    }

    /// The object with this identity.
    pub fn get(&self, uid: Uid) -> Option<&Arc<Record>> {
        self.by_uid.get(&uid)
    }

    /// The object of this name.
    pub fn find(&self, kind: Kind, name: &str) -> Option<&Arc<Record>> {
        let name: Name = name.parse().ok()?;
        self.by_name.get(&kind)?.get(&name)
    }

    /// The objects of a kind in the order of their names.
    pub fn objects(&self, kind: Kind) -> impl Iterator<Item = &Arc<Record>> {
        self.by_name.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.by_name.get(&kind).map_or(0, BTreeMap::len)
    }

    /// How many declared objects there are.
    pub fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// Whether no object is declared.
    pub fn is_empty(&self) -> bool {
        self.by_uid.is_empty()
    }

    /// Whether the identity belongs, or belonged, to a declared object.
    pub fn is_spent(&self, uid: Uid) -> bool {
        self.by_uid.contains_key(&uid) || self.tombstones.contains(&uid)
    }

    /// The identities of deleted objects, ascending.
    pub fn tombstones(&self) -> impl Iterator<Item = Uid> {
        self.tombstones.iter().copied()
    }

    pub(crate) const fn claims(&self) -> &Claims {
        &self.claims
    }

    pub(crate) fn cluster(&self) -> Uid {
        self.identity.as_ref().map_or(Uid::from_u128(0), |identity| identity.cluster)
    }

    /// The object for a message: `system "a"`.
    pub(crate) fn describe(&self, uid: Uid) -> String {
        match self.get(uid) {
            Some(record) => format!("{} {:?}", record.kind, record.name.as_str()),
            None => format!("the object {uid}"),
        }
    }

    pub(crate) fn require(&self, kind: Kind, name: &Name) -> Result<&Record, Refusal> {
        let found = self.by_name.get(&kind).and_then(|objects| objects.get(name));
        found.map(Arc::as_ref).ok_or_else(|| Refusal::not_found(kind, name.as_str()))
    }

    pub(crate) fn pool_spec(&self, name: &Name) -> Result<&PoolSpec, Refusal> {
        match &self.require(Kind::Pool, name)?.spec {
            Spec::Pool(spec) => Ok(spec),
            _ => Err(Refusal::not_found(Kind::Pool, name.as_str())),
        }
    }

    pub(crate) fn image_spec(&self, name: &Name) -> Result<&ImageSpec, Refusal> {
        match &self.require(Kind::Image, name)?.spec {
            Spec::Image(spec) => Ok(spec),
            _ => Err(Refusal::not_found(Kind::Image, name.as_str())),
        }
    }

    pub(crate) fn network_spec(&self, name: &Name) -> Result<&NetworkSpec, Refusal> {
        match &self.require(Kind::Network, name)?.spec {
            Spec::Network(spec) => Ok(spec),
            _ => Err(Refusal::not_found(Kind::Network, name.as_str())),
        }
    }

    pub(crate) fn subnet(&self, name: &Name) -> Result<Subnet, Refusal> {
        self.claims.subnets().get(name).copied().ok_or_else(|| Refusal::not_found(Kind::Network, name.as_str()))
    }

    /// Puts the object in place of what had its identity.
    pub(crate) fn insert(&mut self, record: Record) -> Arc<Record> {
        if let Some(old) = self.by_uid.get(&record.uid) {
            self.claims.remove(old.uid, &old.name, &old.spec);
        }
        self.claims.insert(record.uid, &record.name, &record.spec);
        let record = Arc::new(record);
        self.by_uid.insert(record.uid, Arc::clone(&record));
        self.by_name.entry(record.kind).or_default().insert(record.name.clone(), Arc::clone(&record));
        record
    }

    fn remove(&mut self, record: &Record) {
        self.claims.remove(record.uid, &record.name, &record.spec);
        self.by_uid.remove(&record.uid);
        if let Some(objects) = self.by_name.get_mut(&record.kind) {
            objects.remove(&record.name);
            if objects.is_empty() {
                self.by_name.remove(&record.kind);
            }
        }
        self.tombstones.insert(record.uid);
    }

    fn expect(&self, due: u64, entry: &Entry) -> Result<(), Stall> {
        if entry.index != due {
            return Err(Stall::Gap { expected: due, found: entry.index });
        }
        match &self.identity {
            Some(identity) if identity.epoch != entry.epoch => {
                Err(Stall::Epoch { index: due, expected: identity.epoch, found: entry.epoch })
            }
            None if !matches!(entry.action, Action::Genesis { .. }) => Err(Stall::NoGenesis),
            Some(_) | None => Ok(()),
        }
    }
}
