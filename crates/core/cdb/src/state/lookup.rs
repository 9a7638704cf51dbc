//! What is in the state, by name and by identity.

use std::sync::Arc;

use acp_base::{Code, Name, Uid};
use acp_wire_model::{Kind, image::ImageSpec, network::NetworkSpec, pool::PoolSpec};

use super::{Record, State};
use crate::{
    claims::{Claims, Place},
    refusal::Refusal,
    spec::{Spec, is_local},
    subnet::Subnet,
};

impl State {
    /// The object with this identity.
    pub fn get(&self, uid: Uid) -> Option<&Arc<Record>> {
        self.objects.get(uid)
    }

    /// The object of this name: of a kind that is of one node, that of the node, or without a node the only one. For other kinds
    /// the node does not matter.
    pub fn find(&self, kind: Kind, node: Option<&Name>, name: &str) -> Option<&Arc<Record>> {
        let name: Name = name.parse().ok()?;
        let mut named = self.objects.named(kind, &name);
        match node.filter(|_| is_local(kind)) {
            Some(node) => named.find(|record| record.local_node() == Some(node)),
            None => named.next().filter(|_| named.next().is_none()),
        }
    }

    /// The objects of this name, by their nodes: at most one unless the kind is of one node.
    pub fn named(&self, kind: Kind, name: &str) -> Vec<&Arc<Record>> {
        name.parse().map(|name| self.objects.named(kind, &name).collect()).unwrap_or_default()
    }

    /// The objects of a kind in the order of their names.
    pub fn objects(&self, kind: Kind) -> impl Iterator<Item = &Arc<Record>> {
        self.objects.of_kind(kind)
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.objects.count(kind)
    }

    /// How many declared objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether no object is declared.
    pub fn is_empty(&self) -> bool {
        self.objects.len() == 0
    }

    /// Whether the identity belongs, or belonged, to a declared object.
    pub fn is_spent(&self, uid: Uid) -> bool {
        self.get(uid).is_some() || self.tombstones.contains(&uid)
    }

    /// The identities of deleted objects, ascending.
    pub fn tombstones(&self) -> impl Iterator<Item = Uid> {
        self.tombstones.iter().copied()
    }

    pub(crate) const fn claims(&self) -> &Claims {
        self.objects.claims()
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

    /// The name that the first node has now; none once it has gone.
    pub(crate) fn first_node(&self) -> Option<&Name> {
        let first = self.get(self.identity.as_ref()?.node)?;
        (first.kind == Kind::Node).then_some(&first.name)
    }

    pub(crate) fn require_node(&self, name: &Name) -> Result<&Record, Refusal> {
        let found = self.objects.at(Kind::Node, None, name);
        found.map(Arc::as_ref).ok_or_else(|| Refusal::not_found(Kind::Node, name.as_str()))
    }

    /// The object of a kind that is of one node.
    fn require(&self, kind: Kind, node: Option<&Name>, name: &Name) -> Result<&Record, Refusal> {
        let found = node.and_then(|node| self.objects.at(kind, Some(node), name));
        found.map(Arc::as_ref).ok_or_else(|| match (node, self.objects.named(kind, name).next()) {
            (Some(node), Some(other)) => {
                let on = other.spec.node().map_or("another", Name::as_str);
                Refusal::new(
                    Code::NotFound,
                    format!("no {kind} named {:?} on node {node}: it is on {on}", name.as_str()),
                )
            }
            _ => Refusal::not_found(kind, name.as_str()),
        })
    }

    pub(crate) fn pool_spec(&self, node: Option<&Name>, name: &Name) -> Result<&PoolSpec, Refusal> {
        match &self.require(Kind::Pool, node, name)?.spec {
            Spec::Pool(spec) => Ok(spec),
            _ => Err(Refusal::not_found(Kind::Pool, name.as_str())),
        }
    }

    pub(crate) fn image_spec(&self, node: &Name, name: &Name) -> Result<&ImageSpec, Refusal> {
        match &self.require(Kind::Image, Some(node), name)?.spec {
            Spec::Image(spec) => Ok(spec),
            _ => Err(Refusal::not_found(Kind::Image, name.as_str())),
        }
    }

    pub(crate) fn network_spec(&self, node: &Name, name: &Name) -> Result<&NetworkSpec, Refusal> {
        match &self.require(Kind::Network, Some(node), name)?.spec {
            Spec::Network(spec) => Ok(spec),
            _ => Err(Refusal::not_found(Kind::Network, name.as_str())),
        }
    }

    pub(crate) fn subnet(&self, network: &Place) -> Result<Subnet, Refusal> {
        let found = self.claims().subnets().get(network).copied();
        found.ok_or_else(|| Refusal::not_found(Kind::Network, network.1.as_str()))
    }
}
