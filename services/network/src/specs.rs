//! The declared networks and systems, as the cluster service tells them.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::{Name, Uid};
use acp_core_netplan::{Desired, NetworkInput, SystemInput};
use acp_io_client::ObjectEvent;
use acp_wire_model::{
    Kind, Object,
    network::NetworkSpec,
    system::{SystemMeta, SystemSpec, SystemState},
};

/// The specs last told completely. While they are told anew, the old ones hold: a node does not take down what stands
/// because the cluster service restarts.
///
/// Only objects of this node are kept. One that was this node's stays so under whatever name of a node: it cannot move, so the
/// node has got another name.
#[derive(Debug)]
pub(crate) struct Specs {
    node: Name,
    current: Option<Told>,
    /// What was told since the last resync, until all of it is.
    incoming: Option<Told>,
}

#[derive(Debug, Default)]
struct Told {
    networks: BTreeMap<Uid, NetworkInput>,
    systems: BTreeMap<Uid, SystemInput>,
    /// Systems that are said to run.
    running: BTreeSet<Uid>,
}

impl Specs {
    pub(crate) fn new(node: Name) -> Self {
        Self { node, current: None, incoming: Some(Told::default()) }
    }

    /// Takes in an event; answers whether what holds has changed.
    pub(crate) fn apply(&mut self, event: ObjectEvent) -> bool {
        match event {
            ObjectEvent::Resync => self.incoming = Some(Told::default()),
            ObjectEvent::Synced => {
                if let Some(told) = self.incoming.take() {
                    self.current = Some(told);
                }
            }
            ObjectEvent::Put(object) => {
                let known = [self.current.as_ref(), self.incoming.as_ref()].into_iter().flatten();
                let is_known = known.into_iter().any(|told| told.has(object.uid));
                let node = self.node.clone();
                self.told().put(&object, &node, is_known);
            }
            ObjectEvent::Delete(object) => self.told().remove(object.uid),
        }
        self.incoming.is_none()
    }

    /// What the specs ask of this node; absent until they were told completely once.
    pub(crate) fn desired(&self) -> Option<Desired> {
        let told = self.current.as_ref()?;
        Some(Desired::from_specs(&self.node, told.networks.values(), told.systems.values()))
    }

    /// A system by identity.
    pub(crate) fn system(&self, uid: Uid) -> Option<&SystemInput> {
        self.current.as_ref()?.systems.get(&uid)
    }

    /// Whether a system is said to run.
    pub(crate) fn runs(&self, uid: Uid) -> bool {
        self.current.as_ref().is_some_and(|told| told.running.contains(&uid))
    }

    /// A network by name.
    pub(crate) fn network(&self, name: &Name) -> Option<&NetworkInput> {
        self.current.as_ref()?.networks.values().find(|network| network.name == *name)
    }

    fn told(&mut self) -> &mut Told {
        match &mut self.incoming {
            Some(told) => told,
            None => self.current.get_or_insert_default(),
        }
    }
}

impl Told {
    fn has(&self, uid: Uid) -> bool {
        self.networks.contains_key(&uid) || self.systems.contains_key(&uid)
    }

    fn put(&mut self, object: &Object, node: &Name, is_known: bool) {
        self.running.remove(&object.uid);
        if !is_known && !is_of(object, node) {
            return;
        }
        if runs(object) {
            self.running.insert(object.uid);
        }
        let read = match object.kind {
            Kind::Network => network(object).map(|network| drop(self.networks.insert(object.uid, network))),
            Kind::System => own(object, node).map(|system| drop(self.systems.insert(object.uid, system))),
            Kind::Node | Kind::Pool | Kind::Image | Kind::Volume | Kind::Service | Kind::Job => Ok(()),
        };
        if let Err(reason) = read {
            // The spec that was readable before goes on holding.
            tracing::error!(kind = %object.kind, name = %object.name, %reason, "a spec cannot be read");
        }
    }

    fn remove(&mut self, uid: Uid) {
        self.networks.remove(&uid);
        self.systems.remove(&uid);
        self.running.remove(&uid);
    }
}

fn runs(object: &Object) -> bool {
    let meta = object.meta_as::<SystemMeta>();
    object.kind == Kind::System
        && meta.is_some_and(|meta| matches!(meta.state, SystemState::Running | SystemState::Paused))
}

fn network(object: &Object) -> Result<NetworkInput, String> {
    let spec: NetworkSpec = object.spec_as().map_err(|error| error.to_string())?;
    Ok(NetworkInput { uid: object.uid, name: name(object)?, spec })
}

/// Whether an object is of this node; one that names none is of the time before there were others.
fn is_of(object: &Object, node: &Name) -> bool {
    object.spec.get("node").and_then(|named| named.as_str()).is_none_or(|named| named == node.as_str())
}

/// A system of this node, whatever the node was called when it was declared.
fn own(object: &Object, node: &Name) -> Result<SystemInput, String> {
    let mut input = system(object)?;
    input.spec.node = node.clone();
    Ok(input)
}

/// A system from its object.
pub(crate) fn system(object: &Object) -> Result<SystemInput, String> {
    let spec: SystemSpec = object.spec_as().map_err(|error| error.to_string())?;
    Ok(SystemInput { uid: object.uid, name: name(object)?, spec })
}

fn name(object: &Object) -> Result<Name, String> {
    object.name.parse().map_err(|error| format!("its name: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, uid: u128, name: &str, spec: serde_json::Value) -> Object {
        Object { kind, name: name.to_owned(), uid: Uid::from_u128(uid), version: 1, spec, slots: Vec::new() }
    }

    fn here() -> Name {
        "here".parse().expect("a good name")
    }

    fn lan() -> Object {
        object(Kind::Network, 1, "lan", serde_json::json!({ "address": "10.77.0.1/24" }))
    }

    fn networks(specs: &Specs) -> Option<usize> {
        specs.desired().map(|desired| desired.networks.len())
    }

    #[test]
    fn nothing_is_asked_before_everything_was_told() {
        let mut specs = Specs::new(here());
        assert!(!specs.apply(ObjectEvent::Put(lan())));
        assert_eq!(networks(&specs), None);
        assert!(specs.apply(ObjectEvent::Synced));
        assert_eq!(networks(&specs), Some(1));
        assert!(specs.network(&"lan".parse().expect("a good name")).is_some());
    }

    #[test]
    fn what_stands_holds_until_it_is_told_anew() {
        let mut specs = Specs::new(here());
        specs.apply(ObjectEvent::Put(lan()));
        specs.apply(ObjectEvent::Synced);
        assert!(!specs.apply(ObjectEvent::Resync));
        assert_eq!(networks(&specs), Some(1));
        assert!(specs.apply(ObjectEvent::Synced));
        assert_eq!(networks(&specs), Some(0));
    }

    #[test]
    fn later_changes_count_at_once() {
        let mut specs = Specs::new(here());
        specs.apply(ObjectEvent::Synced);
        assert!(specs.apply(ObjectEvent::Put(lan())));
        assert_eq!(networks(&specs), Some(1));
        assert!(specs.apply(ObjectEvent::Delete(lan())));
        assert_eq!(networks(&specs), Some(0));
    }

    #[test]
    fn a_spec_that_cannot_be_read_changes_nothing() {
        let mut specs = Specs::new(here());
        specs.apply(ObjectEvent::Put(lan()));
        specs.apply(ObjectEvent::Synced);
        specs.apply(ObjectEvent::Put(object(Kind::Network, 1, "lan", serde_json::json!({ "address": 7 }))));
        assert_eq!(networks(&specs), Some(1));
    }

    #[test]
    fn what_is_of_another_node_is_not_ours() {
        let mut specs = Specs::new(here());
        let there = serde_json::json!({ "node": "there", "address": "10.78.0.1/24" });
        specs.apply(ObjectEvent::Put(object(Kind::Network, 2, "lan", there)));
        let ours = serde_json::json!({ "node": "here", "address": "10.77.0.1/24" });
        specs.apply(ObjectEvent::Put(object(Kind::Network, 1, "lan", ours)));
        let system = serde_json::json!({ "node": "there", "cpus": 1, "memory_bytes": 1 << 28 });
        specs.apply(ObjectEvent::Put(object(Kind::System, 3, "demo", system)));
        specs.apply(ObjectEvent::Synced);
        assert_eq!(networks(&specs), Some(1));
        let named = specs.network(&"lan".parse().expect("a good name")).map(|network| network.uid);
        assert_eq!(named, Some(Uid::from_u128(1)), "two nodes have networks of this name");
        assert!(specs.system(Uid::from_u128(3)).is_none());
    }

    #[test]
    fn what_is_ours_stays_ours_when_the_node_is_called_otherwise() {
        let mut specs = Specs::new(here());
        let network = |node: &str| {
            object(Kind::Network, 1, "lan", serde_json::json!({ "node": node, "address": "10.77.0.1/24" }))
        };
        specs.apply(ObjectEvent::Put(network("here")));
        specs.apply(ObjectEvent::Synced);
        specs.apply(ObjectEvent::Put(network("renamed")));
        assert_eq!(networks(&specs), Some(1));
        specs.apply(ObjectEvent::Resync);
        specs.apply(ObjectEvent::Put(network("renamed")));
        specs.apply(ObjectEvent::Synced);
        assert_eq!(networks(&specs), Some(1), "also when everything is told anew");
    }
}
