//! Commands of the membership, and what they do to the objects: nodes come, are renamed and go with everything on them.
//!
//! **Invariant**: where there is a cluster of several, its nodes are its members, with the same identities and names.

use std::{collections::BTreeSet, sync::Arc};

use acp_base::{Name, Uid, WallTime};
use acp_core_membership::{Command, Digest, NewNode, Plan, Rejection};
use acp_wire_model::{Kind, node::NodeSpec};
use serde_json::Value;

use super::{Done, Effect, Record, State};
use crate::{refusal::Refusal, spec::Spec};

/// In which order what lies on a node goes: users before what they use.
const GOING: [Kind; 4] = [Kind::System, Kind::Image, Kind::Pool, Kind::Network];

impl State {
    /// Says what joining would do, and changes nothing: as [`acp_core_membership::State::plan_join`], with the names of systems.
    ///
    /// # Errors
    /// Who has no good token is told nothing else.
    pub fn plan_join(&self, token: &Digest, node: &NewNode, now_ms: u64) -> Result<Plan, Rejection> {
        Ok(self.with_objects(self.members.plan_join(token, node, now_ms)?, node))
    }

    /// The same for a node that comes back.
    ///
    /// # Errors
    /// As there.
    pub fn plan_rejoin(&self, token: &Digest, node: &NewNode, now_ms: u64) -> Result<Plan, Rejection> {
        Ok(self.with_objects(self.members.plan_rejoin(token, node, now_ms)?, node))
    }

    /// Says what asking without a token would be answered with, and changes nothing.
    pub fn plan_ask(&self, node: &NewNode) -> Plan {
        self.with_objects(self.members.plan_ask(node), node)
    }

    /// Adds what the objects say against a node.
    fn with_objects(&self, mut plan: Plan, node: &NewNode) -> Plan {
        if plan.again {
            return plan;
        }
        // Of a member that has the id the membership says more.
        let is_members = self.members.members().contains_key(&node.uid);
        if !is_members && (self.get(node.uid).is_some() || self.is_ended(node.uid)) {
            plan.clashes.push(Rejection::UidTaken { uid: node.uid });
        }
        let taken = node.systems.iter().filter(|name| self.objects.at(Kind::System, None, name).is_some());
        let clash = |name: &Name| Rejection::SystemTaken { name: name.clone(), node: node.name.clone() };
        plan.clashes.extend(taken.map(clash));
        plan
    }

    pub(super) fn command(&mut self, command: Command, time: WallTime) -> Result<Done, Refusal> {
        self.stands_against(&command, time.0)?;
        self.members.apply(command, time.0)?;
        Ok(Done { changes: self.follow_members() })
    }

    /// Refuses what the membership would do and the objects cannot follow.
    fn stands_against(&self, command: &Command, now_ms: u64) -> Result<(), Refusal> {
        let plan = match command {
            Command::Init { node, .. } if self.members.founded().is_none() => return self.is_alone(node),
            Command::Join { token, node } => self.plan_join(token, node, now_ms)?,
            Command::Rejoin { token, node } => self.plan_rejoin(token, node, now_ms)?,
            Command::Ask { node, .. } if self.members.founded().is_some() => self.plan_ask(node),
            Command::Approve { request } => self.plan_ask(self.members.asked(*request, now_ms)?),
            _ => return Ok(()),
        };
        match plan.clashes.into_iter().next() {
            Some(clash) => Err(clash.into()),
            None if plan.again => Ok(()),
            None => self.has_room(),
        }
    }

    /// The first member is the node whose log this is.
    fn is_alone(&self, node: &NewNode) -> Result<(), Refusal> {
        let mut nodes = self.objects(Kind::Node);
        let (first, other) = (nodes.next(), nodes.next());
        if let Some(other) = other {
            let message = format!("{} is declared here beside this node: delete it first", self.describe(other.uid));
            return Err(Refusal::precondition(message));
        }
        match first {
            Some(first) if (first.uid, &first.name) == (node.uid, &node.name) => Ok(()),
            Some(first) => Err(Refusal::precondition(format!(
                "this log is that of node {} ({}), which alone can make a cluster of it; {} ({}) cannot",
                first.name, first.uid, node.name, node.uid
            ))),
            None => Err(Refusal::precondition("this log has no node: found it first")),
        }
    }

    /// Makes the nodes what the members are.
    fn follow_members(&mut self) -> Vec<(Effect, Arc<Record>)> {
        if self.members.founded().is_none() {
            return Vec::new();
        }
        let members = self.members.members();
        let of_member = |record: &&Arc<Record>| members.contains_key(&record.uid);
        let gone: Vec<Arc<Record>> = self.objects(Kind::Node).filter(|node| !of_member(node)).cloned().collect();
        let named = members.iter().map(|(uid, member)| (*uid, member.name.clone()));
        let wrong = named.filter(|(uid, name)| self.get(*uid).is_none_or(|record| record.name != *name));
        let wrong: Vec<(Uid, Name)> = wrong.collect();
        let mut changes: Vec<_> = gone.iter().flat_map(|node| self.depart(node)).collect();
        for (uid, name) in wrong {
            changes.extend(match self.get(uid).cloned() {
                Some(node) => self.rename(&node, &name),
                None => vec![self.arrive(uid, name)],
            });
        }
        changes
    }

    fn arrive(&mut self, uid: Uid, name: Name) -> (Effect, Arc<Record>) {
        let spec = Spec::Node(NodeSpec::default());
        let record = Record::new(Kind::Node, name, uid, self.index, spec.to_value(), spec);
        (Effect::Put, self.insert(record))
    }

    /// Takes a node out with everything that lies on it. All of it may come back with the node.
    fn depart(&mut self, node: &Arc<Record>) -> Vec<(Effect, Arc<Record>)> {
        let on_it: Vec<Arc<Record>> = self.on_node(&node.name);
        let of_kind = |kind: Kind| on_it.iter().filter(move |record| record.kind == kind);
        let going: Vec<_> = GOING.into_iter().flat_map(of_kind).chain([node]).cloned().collect();
        for record in &going {
            self.remove(record);
            self.departed.insert(record.uid);
        }
        going.into_iter().map(|record| (Effect::Delete, record)).collect()
    }

    /// Gives a node another name, also where others name it.
    fn rename(&mut self, node: &Arc<Record>, to: &Name) -> Vec<(Effect, Arc<Record>)> {
        let on_it = self.on_node(&node.name);
        let renamed = Record { name: to.clone(), version: self.index, ..Record::clone(node) };
        let mut changes = vec![(Effect::Put, self.insert(renamed))];
        for record in on_it {
            let moved = record.on_node(to.clone(), self.index);
            changes.push((Effect::Put, self.insert(moved)));
        }
        changes
    }

    /// Everything that lies on the node of this name.
    pub(super) fn on_node(&self, node: &Name) -> Vec<Arc<Record>> {
        let users: BTreeSet<Uid> = self.claims().users(Kind::Node, None, node).collect();
        users.into_iter().filter_map(|uid| self.get(uid).cloned()).collect()
    }

    /// Whether the object went with its node, with which it may come back.
    pub fn has_departed(&self, uid: Uid) -> bool {
        self.departed.contains(&uid)
    }

    /// Whether the identity has ended for good.
    pub(super) fn is_ended(&self, uid: Uid) -> bool {
        self.tombstones.contains(&uid) && !self.departed.contains(&uid)
    }

    /// Whether the invariant holds.
    pub(super) fn nodes_are_members(&self) -> Result<(), String> {
        let members = self.members.members();
        let are_alike = self.objects(Kind::Node).count() == members.len()
            && members.iter().all(|(uid, member)| self.get(*uid).is_some_and(|record| record.name == member.name));
        if self.members.founded().is_none() || are_alike {
            Ok(())
        } else {
            Err("the nodes are not the members".to_owned())
        }
    }
}

impl Record {
    /// The same object on another node.
    pub(crate) fn on_node(&self, node: Name, version: u64) -> Self {
        let mut spec = self.spec.clone();
        let mut value = Value::clone(&self.value);
        if let Value::Object(fields) = &mut value {
            fields.insert("node".to_owned(), Value::from(node.as_str()));
        }
        spec.set_node(node);
        Self::new(self.kind, self.name.clone(), self.uid, version, value, spec)
    }
}
