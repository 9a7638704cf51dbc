//! The nodes as the control plane sees them: all or some, once or with each change.

use std::collections::BTreeMap;

use acp_base::{Name, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use super::{Judgement, Member, MetaValue, Standing, Verdict};
use crate::cluster::SelectorOp;

/// Which nodes: those for which everything given holds. See [`ListNodes`](super::ListNodes) and
/// [`WatchNodes`](super::WatchNodes).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct NodeFilter {
    /// Whether they are online; absent: either way, as with everything here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// Whether they run the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// Whether they are set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<bool>,
    /// A role that they have. There has to be such a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Name>,
    /// A unit that they run, by their roles. It has to be one of ACP's, or named by a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// What has to be noted of them; at most 16 conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<MetaCondition>,
}

/// A condition on a node's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct MetaCondition {
    /// The value's name.
    pub name: Name,
    /// `eq` or `ne`; what is not noted is not equal.
    pub op: SelectorOp,
    /// What it is compared to: values of different types are never equal.
    pub value: MetaValue,
}

/// A member and whether it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct NodePresence {
    /// The member.
    pub node: Member,
    /// Whether it watches the directory now.
    pub online: bool,
    /// The same, or that it is set aside.
    #[serde(default)]
    pub verdict: Verdict,
    /// What the leader takes it for, and why; absent: it is set aside, or nobody leads who has heard enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judgement>,
    /// For how long that has been so, in milliseconds; absent: it was not seen since the hub started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// See [`WatchNodes`](super::WatchNodes).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct WatchNodesReply {
    /// The directory's revision: it grows by one with every change of the members, and not with who is online.
    pub revision: u64,
    /// Whether these are all nodes as they are, each as one that came: so it is with the first reply alone.
    #[serde(default)]
    pub current: bool,
    /// What has changed, in the order of the nodes' names. Empty: nothing has; such a reply comes at least every 2 seconds and
    /// says that the hub is there.
    pub events: Vec<NodeEvent>,
    /// How old what it says of presence is, in milliseconds: 0 from the leader.
    #[serde(default)]
    pub age_ms: u64,
    /// Why nothing can be changed just now; empty when everything can.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub degraded: String,
}

/// A change of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct NodeEvent {
    /// What has happened to it.
    pub change: NodeChange,
    /// The node as it is now; for one that went, as it was told last.
    pub node: NodePresence,
}

/// What has happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum NodeChange {
    /// It is one of those that were asked for, and was none before: it has joined, or the filter holds for it now.
    Came,
    /// It is none any more.
    Went,
    /// A controller hears it again.
    Online,
    /// No controller hears it any more.
    Offline,
    /// Its name, place, roles, metadata or part in the control plane is another one, or what the leader takes it for.
    Changed,
}

impl NodeEvent {
    /// What has happened between two views, in the order of names. How long something has been so is no change.
    pub fn between(before: &BTreeMap<Uid, NodePresence>, now: &BTreeMap<Uid, NodePresence>) -> Vec<Self> {
        let told = |change, node: &NodePresence| Self { change, node: node.clone() };
        let went =
            before.iter().filter(|(uid, _)| !now.contains_key(uid)).map(|(_, node)| told(NodeChange::Went, node));
        let mut events: Vec<Self> = went.collect();
        for (uid, node) in now {
            let changes = before.get(uid).map_or_else(|| vec![NodeChange::Came], |known| changes(known, node));
            events.extend(changes.into_iter().map(|change| told(change, node)));
        }
        events.sort_by(|a, b| (&a.node.node.name, a.change).cmp(&(&b.node.node.name, b.change)));
        events
    }
}

fn changes(before: &NodePresence, now: &NodePresence) -> Vec<NodeChange> {
    let presence = match (before.online, now.online) {
        (false, true) => Some(NodeChange::Online),
        (true, false) => Some(NodeChange::Offline),
        (true, true) | (false, false) => None,
    };
    let is_judged_anew = presence.is_none() && standing(before) != standing(now);
    let other = (before.node != now.node || is_judged_anew).then_some(NodeChange::Changed);
    presence.into_iter().chain(other).collect()
}

/// What a node is taken for. Before the leader has heard enough, and while it is in doubt whether a node has gone, what is told of
/// its presence is all that there is to tell.
fn standing(node: &NodePresence) -> Standing {
    match node.judged.as_ref().map(|judged| judged.standing) {
        None | Some(Standing::Online) if node.online => Standing::Online,
        None | Some(Standing::Online) => Standing::Unknown,
        Some(other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(number: u128, online: bool) -> (Uid, NodePresence) {
        let node = Member {
            uid: Uid::from_u128(number),
            name: format!("n{number}").parse().expect("a name"),
            address: String::new(),
            fingerprint: String::new(),
            controller: false,
            checkpoint_key: String::new(),
            parked: false,
            domain: None,
            roles: Vec::new(),
            metadata: super::super::Metadata::default(),
            joined_ms: 0,
        };
        let verdict = if online { Verdict::Online } else { Verdict::Offline };
        (node.uid, NodePresence { node, online, verdict, judged: None, for_ms: Some(1) })
    }

    #[test]
    fn each_difference_is_told_and_nothing_else() {
        let before = BTreeMap::from([seen(1, true), seen(2, true), seen(3, false), seen(4, true)]);
        let mut now = BTreeMap::from([seen(1, true), seen(3, true), seen(4, false), seen(5, false)]);
        now.entry(Uid::from_u128(1)).and_modify(|node| node.for_ms = Some(99));
        now.entry(Uid::from_u128(4)).and_modify(|node| node.node.parked = true);
        let events = NodeEvent::between(&before, &now);
        let told: Vec<_> = events.iter().map(|event| (event.node.node.name.as_str(), event.change)).collect();
        let expected = [
            ("n2", NodeChange::Went),
            ("n3", NodeChange::Online),
            ("n4", NodeChange::Offline),
            ("n4", NodeChange::Changed),
            ("n5", NodeChange::Came),
        ];
        assert_eq!(told, expected);
        assert_eq!(NodeEvent::between(&now, &now), []);
        let judged = |standing, for_ms| Some(Judgement { standing, for_ms, evidence: for_ms.to_string() });
        let isolated = BTreeMap::from(
            [seen(1, true)].map(|(uid, node)| (uid, NodePresence { judged: judged(Standing::Isolated, 1), ..node })),
        );
        let before = BTreeMap::from([seen(1, true)]);
        assert_eq!(NodeEvent::between(&before, &isolated)[0].change, NodeChange::Changed);
        let later = isolated
            .clone()
            .into_iter()
            .map(|(uid, node)| (uid, NodePresence { judged: judged(Standing::Isolated, 2), ..node }));
        assert_eq!(NodeEvent::between(&isolated, &later.collect()), [], "for how long is no change");
        let learned = before
            .clone()
            .into_iter()
            .map(|(uid, node)| (uid, NodePresence { judged: judged(Standing::Online, 1), ..node }));
        assert_eq!(NodeEvent::between(&before, &learned.collect()), [], "nor that it is certain now");
    }
}
