//! What each kind of entry does. A kind, once released, keeps its meaning.

use std::sync::Arc;

use acp_base::{Code, EpochId, Name, Uid};
use acp_core_membership::Command;
use acp_wire_model::{
    Kind,
    entry::{Action, Entry},
    merge,
    node::NodeSpec,
};
use serde_json::Value;

use super::{Done, Effect, Identity, Record, State};
use crate::{
    admit::{self, Subject},
    limits::{OBJECTS_MAX, UIDS_MAX},
    patch::keep_unknown,
    refusal::Refusal,
    spec::{Spec, is_local, not_declared},
};

impl State {
    pub(super) fn act(&mut self, entry: Entry, command: Option<Command>) -> Result<Done, Refusal> {
        // What came here all the same: each replica that can read it decides alike.
        self.admits(entry.action.level().max(command.as_ref().map_or(1, Command::level)))?;
        match entry.action {
            Action::Genesis { cluster, node, node_name } => self.found(cluster, node, node_name, entry.epoch),
            Action::Create { kind, name, uid, spec } => self.create(kind, name, uid, &spec),
            Action::Update { kind, uid, patch, if_version } => self.update(kind, uid, &patch, if_version),
            Action::Delete { kind, uid } => self.delete(kind, uid),
            Action::Membership { .. } => command.map_or(Ok(Done::none()), |command| self.command(command, entry.time)),
            Action::Lease { system, act } => self.lease_act(system, &act),
            Action::Horizon { epoch, reason } => self.cross(epoch, &reason),
            Action::FeatureLevel { level } => self.rise(level),
            Action::Verdict { node, standing, evidence, .. } => self.judge(node, standing, &evidence),
        }
    }

    /// Goes on in another epoch. Identities that ended before it need not be remembered: nobody who knew them crosses.
    fn cross(&mut self, epoch: EpochId, reason: &str) -> Result<Done, Refusal> {
        admit::text("reason", reason)?;
        let Some(identity) = &mut self.identity else {
            return Err(Refusal::precondition("the cluster is not founded"));
        };
        if epoch.number <= identity.epoch.number {
            let present = identity.epoch;
            return Err(Refusal::precondition(format!("epoch {epoch} is not above the present one, {present}")));
        }
        identity.epoch = epoch;
        self.tombstones.clear();
        self.departed.clear();
        self.members.epoch_changed();
        Ok(Done::none())
    }

    fn rise(&mut self, level: u32) -> Result<Done, Refusal> {
        if level <= self.level {
            let present = self.level;
            return Err(Refusal::precondition(format!("level {level} is not above the present one, {present}")));
        }
        self.level = level;
        Ok(Done::none())
    }

    fn found(&mut self, cluster: Uid, node: Uid, node_name: Name, epoch: EpochId) -> Result<Done, Refusal> {
        if self.identity.is_some() {
            return Err(Refusal::precondition("the cluster is founded already"));
        }
        self.identity = Some(Identity { cluster, node, node_name: node_name.clone(), epoch });
        let spec = Spec::Node(NodeSpec::default());
        Ok(self.put(Kind::Node, node_name, node, spec.to_value(), spec))
    }

    fn create(&mut self, kind: Kind, name: Name, uid: Uid, asked: &Value) -> Result<Done, Refusal> {
        let spec = Spec::read(kind, asked)?;
        self.may_come_or_go(kind)?;
        if self.get(uid).is_some() || self.is_ended(uid) {
            let message = format!("the uid {uid} has been used before; identities are never used again");
            return Err(Refusal::new(Code::AlreadyExists, message));
        }
        self.has_room()?;
        let spec = admit::admit(self, Subject { uid, name: &name, old: None }, spec)?;
        let node = spec.node().filter(|_| is_local(kind));
        if self.objects.at(kind, node, &name).is_some() {
            return Err(Refusal::exists(kind, node, &name));
        }
        let value = keep_unknown(asked, spec.to_value());
        Ok(self.put(kind, name, uid, value, spec))
    }

    fn update(&mut self, kind: Kind, uid: Uid, patch: &Value, if_version: Option<u64>) -> Result<Done, Refusal> {
        let old = Arc::clone(self.living(kind, uid)?);
        if let Some(expected) = if_version.filter(|expected| *expected != old.version) {
            let (object, version) = (self.describe(uid), old.version);
            let message = format!("{object} is at version {version}, not {expected}: read it again");
            return Err(Refusal::new(Code::Conflict, message));
        }
        if !patch.is_object() {
            return Err(Refusal::invalid("a patch is an object with the fields to change"));
        }
        let mut asked = Value::clone(&old.value);
        merge(&mut asked, patch);
        let spec = Spec::read(kind, &asked)?;
        let spec = admit::admit(self, Subject { uid, name: &old.name, old: Some(&old.spec) }, spec)?;
        let value = keep_unknown(&asked, spec.to_value());
        if value == *old.value {
            return Ok(Done::one(Effect::Unchanged, old));
        }
        Ok(self.put(kind, old.name.clone(), uid, value, spec))
    }

    fn delete(&mut self, kind: Kind, uid: Uid) -> Result<Done, Refusal> {
        let record = Arc::clone(self.living(kind, uid)?);
        self.may_come_or_go(kind)?;
        admit::release(self, &record)?;
        self.remove(&record);
        Ok(Done::one(Effect::Delete, record))
    }

    fn put(&mut self, kind: Kind, name: Name, uid: Uid, value: Value, spec: Spec) -> Done {
        let record = self.insert(Record::new(kind, name, uid, self.index, value, spec));
        Done::one(Effect::Put, record)
    }

    /// Nodes of a cluster of several come by joining and go by leaving.
    fn may_come_or_go(&self, kind: Kind) -> Result<(), Refusal> {
        if kind == Kind::Node && self.members.founded().is_some() {
            return Err(Refusal::precondition(
                "nodes come by joining the cluster, and go by leaving it or being removed",
            ));
        }
        Ok(())
    }

    pub(super) fn living(&self, kind: Kind, uid: Uid) -> Result<&Arc<Record>, Refusal> {
        if !kind.is_declared() {
            return Err(not_declared(kind));
        }
        match self.get(uid).filter(|record| record.kind == kind) {
            Some(record) => Ok(record),
            None if self.tombstones.contains(&uid) => {
                Err(Refusal::new(Code::NotFound, format!("the {kind} with the uid {uid} has been deleted")))
            }
            None => Err(Refusal::new(Code::NotFound, format!("no {kind} with the uid {uid}"))),
        }
    }

    pub(super) fn has_room(&self) -> Result<(), Refusal> {
        if self.objects.len() >= OBJECTS_MAX {
            return Err(Refusal::exhausted(format!(
                "the cluster has {OBJECTS_MAX} declared objects, the most it can hold"
            )));
        }
        if self.objects.len() + self.tombstones.len() >= UIDS_MAX {
            let message = format!("this epoch has used {UIDS_MAX} identities, the most it can remember");
            return Err(Refusal::exhausted(message));
        }
        Ok(())
    }
}
