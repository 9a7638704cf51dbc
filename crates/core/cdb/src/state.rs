//! What the log says: declared objects, members, leases, the epoch and the level.

mod access;
mod act;
mod lease;
mod lookup;
mod members;
mod objects;
mod own;
mod undo;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use acp_base::{EpochId, Name, Uid, WallTime};
use acp_core_membership::Command;
use acp_wire_api::hub;
use acp_wire_model::{
    Kind,
    entry::{Action, Entry, FEATURE_LEVEL, NodeStanding},
};
use serde_json::Value;

use crate::{
    codec::{Stall, decode},
    hash::Hash,
    json::Json,
    refusal::Refusal,
    spec::{Spec, is_local},
};

pub use lease::LeaseRecord;
use objects::Objects;

/// A declared object.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The kind.
    pub kind: Kind,
    /// Unique within the kind, and the node if the kind is of one.
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
    /// The node on which the name is unique; none for kinds whose names are unique in the cluster.
    pub fn local_node(&self) -> Option<&Name> {
        self.spec.node().filter(|_| is_local(self.kind))
    }

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
    /// The epoch: that of the first entry, or of the last horizon after it.
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
    /// What happened to which objects, in order; each as it is after it, or as it was last. An entry that is about no object has
    /// none; one about a node may have many.
    pub changes: Vec<(Effect, Arc<Record>)>,
}

impl Done {
    /// The object that an entry about one object was about.
    pub fn record(&self) -> Option<&Arc<Record>> {
        self.changes.first().map(|(_, record)| record)
    }

    fn one(effect: Effect, record: Arc<Record>) -> Self {
        Self { changes: vec![(effect, record)] }
    }

    const fn none() -> Self {
        Self { changes: Vec::new() }
    }
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
    level: u32,
    members: acp_core_membership::State,
    leases: BTreeMap<Uid, LeaseRecord>,
    last_term: u64,
    /// What members were last taken for; of those that are not here, online.
    verdicts: BTreeMap<Uid, NodeStanding>,
    tombstones: BTreeSet<Uid>,
    /// Those of the tombstones that went with their node: they alone may come back.
    departed: BTreeSet<Uid>,
    objects: Objects,
    stalled: Option<Stall>,
}

/// What a state says beside its objects.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) identity: Identity,
    pub(crate) index: u64,
    pub(crate) hash: Hash,
    pub(crate) time: WallTime,
    pub(crate) level: u32,
    pub(crate) members: acp_core_membership::State,
    pub(crate) leases: BTreeMap<Uid, LeaseRecord>,
    pub(crate) last_term: u64,
    pub(crate) verdicts: BTreeMap<Uid, NodeStanding>,
    pub(crate) tombstones: BTreeSet<Uid>,
    pub(crate) departed: BTreeSet<Uid>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            identity: None,
            index: 0,
            hash: Hash::ZERO,
            time: WallTime(0),
            level: 0,
            members: acp_core_membership::State::default(),
            leases: BTreeMap::new(),
            last_term: 0,
            verdicts: BTreeMap::new(),
            tombstones: BTreeSet::new(),
            departed: BTreeSet::new(),
            objects: Objects::default(),
            stalled: None,
        }
    }
}

impl State {
    /// A state that stands so and has no objects yet.
    pub(crate) fn standing(standing: Standing) -> Self {
        let identity = Some(standing.identity);
        let Standing { index, hash, time, level, members, leases, last_term, verdicts, tombstones, departed, .. } =
            standing;
        let (objects, stalled) = (Objects::default(), None);
        Self {
            identity,
            index,
            hash,
            time,
            level,
            members,
            leases,
            last_term,
            verdicts,
            tombstones,
            departed,
            objects,
            stalled,
        }
    }

    /// What it says beside its objects; none before the first entry.
    pub(crate) fn beside_objects(&self) -> Option<Standing> {
        Some(Standing {
            identity: self.identity.clone()?,
            index: self.index,
            hash: self.hash,
            time: self.time,
            level: self.level,
            members: self.members.clone(),
            leases: self.leases.clone(),
            last_term: self.last_term,
            verdicts: self.verdicts.clone(),
            tombstones: self.tombstones.clone(),
            departed: self.departed.clone(),
        })
    }

    /// Applies the next entry, given as the bytes that were ordered. Total: whatever the bytes are, there is an outcome, the
    /// same on every replica of this version. After a stall every entry stalls with the same reason.
    pub fn apply(&mut self, bytes: &[u8]) -> Outcome {
        if let Some(stall) = &self.stalled {
            return Outcome::Stalled(stall.clone());
        }
        let due = self.index + 1;
        match self.read(bytes, due) {
            Ok((entry, command)) => {
                self.index = due;
                self.hash = self.hash.link(bytes);
                self.time = entry.time;
                self.act(entry, command).map_or_else(Outcome::Refused, Outcome::Done)
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

    /// The epoch that the next entry has to be of; none before the first entry.
    pub fn epoch(&self) -> Option<EpochId> {
        self.identity.as_ref().map(|identity| identity.epoch)
    }

    /// The level of entries and formats that may occur: 0 in a log that says nothing of it.
    pub const fn feature_level(&self) -> u32 {
        self.level
    }

    /// Refuses what replicas of a version may stall at that the feature level still admits.
    ///
    /// # Errors
    /// `FailedPrecondition`, with what to do.
    pub fn may_occur(&self, action: &Action) -> Result<(), Refusal> {
        let needed = match action {
            Action::Membership { command } => {
                serde_json::from_value(command.clone()).map_or(1, |command: Command| command.level())
            }
            action => action.level(),
        };
        self.admits(needed)
    }

    /// A log that says nothing of its level is of the first one.
    fn admits(&self, needed: u32) -> Result<(), Refusal> {
        let level = self.level.max(1);
        if needed <= level {
            return Ok(());
        }
        Err(Refusal::precondition(format!(
            "this needs feature level {needed}, and the cluster is at {level}: acpctl cluster upgrade"
        )))
    }

    /// Who is a member, and who may do what.
    pub const fn members(&self) -> &acp_core_membership::State {
        &self.members
    }

    /// What every member knows; absent before there is a cluster of several.
    pub fn directory(&self) -> Option<hub::Directory> {
        let epoch = self.epoch().map(|epoch| epoch.to_string()).unwrap_or_default();
        Some(hub::Directory { epoch, ..self.members.directory()? })
    }

    /// Why no further entry is applied, if so.
    pub const fn stalled(&self) -> Option<&Stall> {
        self.stalled.as_ref()
    }

    /// Whether what is derived is what it is derived from gives: the indexes from the specs, the nodes from the members.
    ///
    /// # Errors
    /// What does not hold: a defect of ours, or damage.
    pub fn verify(&self) -> Result<(), String> {
        self.members.verify().map_err(|inconsistency| inconsistency.to_string())?;
        self.nodes_are_members()?;
        self.leases_are_of_systems()?;
        self.verdicts_are_on_members()?;
        self.objects.verify()
    }

    /// Puts the object in place of what had its identity.
    pub(crate) fn insert(&mut self, record: Record) -> Arc<Record> {
        self.tombstones.remove(&record.uid);
        self.departed.remove(&record.uid);
        self.objects.insert(record)
    }

    fn remove(&mut self, record: &Record) {
        self.objects.remove(record);
        self.leases.remove(&record.uid);
        self.verdicts.remove(&record.uid);
        self.tombstones.insert(record.uid);
    }

    /// The entry that is due, with its command if it holds one.
    fn read(&self, bytes: &[u8], due: u64) -> Result<(Entry, Option<Command>), Stall> {
        let entry = decode(bytes, due)?;
        self.expect(due, &entry)?;
        let command = match &entry.action {
            Action::Membership { command } => Some(read_command(due, command)?),
            Action::FeatureLevel { level } if *level > FEATURE_LEVEL => {
                return Err(Stall::FeatureLevel { index: due, level: *level });
            }
            _ => None,
        };
        Ok((entry, command))
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

fn read_command(index: u64, command: &Value) -> Result<Command, Stall> {
    serde_json::from_value(command.clone()).map_err(|error| Stall::UnknownCommand { index, reason: error.to_string() })
}
