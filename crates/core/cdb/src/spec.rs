//! The spec of a declared object, read as its kind's type.

use acp_base::Name;
use acp_wire_model::{
    Kind, image::ImageSpec, network::NetworkSpec, node::NodeSpec, pool::PoolSpec, system::SystemSpec,
};
use serde_json::Value;

use crate::{
    lenient,
    refusal::{Refusal, with_article},
};

/// What was asked of a declared object, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// Of a node.
    Node(NodeSpec),
    /// Of a system.
    System(SystemSpec),
    /// Of a network.
    Network(NetworkSpec),
    /// Of a pool.
    Pool(PoolSpec),
    /// Of an image.
    Image(ImageSpec),
}

impl Spec {
    /// The value as this kind's spec. Keys that this version does not know are passed over.
    ///
    /// # Errors
    /// `InvalidArgument` naming the place that does not read, or that objects of this kind have no spec.
    pub fn read(kind: Kind, value: &Value) -> Result<Self, Refusal> {
        match kind {
            Kind::Node => lenient::read(kind, value).map(Self::Node),
            Kind::System => lenient::read(kind, value).map(Self::System),
            Kind::Network => lenient::read(kind, value).map(Self::Network),
            Kind::Pool => lenient::read(kind, value).map(Self::Pool),
            Kind::Image => lenient::read(kind, value).map(Self::Image),
            Kind::Volume | Kind::Service | Kind::Job => Err(not_declared(kind)),
        }
    }

    /// The kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Node(_) => Kind::Node,
            Self::System(_) => Kind::System,
            Self::Network(_) => Kind::Network,
            Self::Pool(_) => Kind::Pool,
            Self::Image(_) => Kind::Image,
        }
    }

    /// The node that the object is on; none for nodes themselves.
    pub const fn node(&self) -> Option<&Name> {
        match self {
            Self::Node(_) => None,
            Self::System(spec) => Some(&spec.node),
            Self::Pool(spec) => Some(&spec.node),
            Self::Network(spec) => spec.node.as_ref(),
            Self::Image(spec) => spec.node.as_ref(),
        }
    }

    /// Puts the object on this node; nodes themselves are on none.
    pub(crate) fn set_node(&mut self, node: Name) {
        match self {
            Self::Node(_) => {}
            Self::System(spec) => spec.node = node,
            Self::Pool(spec) => spec.node = node,
            Self::Network(spec) => spec.node = Some(node),
            Self::Image(spec) => spec.node = Some(node),
        }
    }

    /// The spec as JSON, defaults written out.
    pub fn to_value(&self) -> Value {
        let value = match self {
            Self::Node(spec) => serde_json::to_value(spec),
            Self::System(spec) => serde_json::to_value(spec),
            Self::Network(spec) => serde_json::to_value(spec),
            Self::Pool(spec) => serde_json::to_value(spec),
            Self::Image(spec) => serde_json::to_value(spec),
        };
        value.expect("a spec has only keys that JSON can express")
    }
}

/// Whether objects of this kind are of one node each, and their names unique there alone.
pub(crate) const fn is_local(kind: Kind) -> bool {
    matches!(kind, Kind::Pool | Kind::Network | Kind::Image)
}

/// Objects of this kind cannot be created, changed or deleted by an entry.
pub(crate) fn not_declared(kind: Kind) -> Refusal {
    Refusal::invalid(format!("{} is not declared: it exists because its reporter says so", with_article(kind)))
}
