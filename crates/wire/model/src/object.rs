//! Objects and the slots in which their reporters describe them.

use std::{fmt, str::FromStr};

use acp_base::{Failure, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// Every kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Kind {
    /// A host in the cluster (declared).
    Node,
    /// A VM or container (declared).
    System,
    /// A bridge with address, DHCP and NAT (declared).
    Network,
    /// A place where volumes and images lie (declared).
    Pool,
    /// A disk image to create systems from (declared).
    Image,
    /// A disk in a pool (reported by storage).
    Volume,
    /// A unit that the framework supervises (reported by framework).
    Service,
    /// A resumable operation of one node (reported by its owner).
    Job,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] =
        [Self::Node, Self::System, Self::Network, Self::Pool, Self::Image, Self::Volume, Self::Service, Self::Job];

    /// The name on the wire and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::System => "system",
            Self::Network => "network",
            Self::Pool => "pool",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Service => "service",
            Self::Job => "job",
        }
    }

    /// Whether objects of this kind exist by a log entry; the others exist because their reporter says so.
    pub const fn is_declared(self) -> bool {
        match self {
            Self::Node | Self::System | Self::Network | Self::Pool | Self::Image => true,
            Self::Volume | Self::Service | Self::Job => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            Failure::invalid(format!("{text:?} is no kind of object; the kinds are {}", known.join(", ")))
        })
    }
}

/// Which half of an object's description a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Facet {
    /// State: changes rarely, every change matters.
    Meta,
    /// Measurements: the newest value replaces the one before.
    Stats,
}

/// One object: what was asked (spec) and what its reporters say (slots).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Object {
    /// The kind.
    pub kind: Kind,
    /// Unique within its kind. A reported object's name may hold characters outside [`acp_base::Name`], like `/` in
    /// `pool/volume`.
    pub name: String,
    /// The identity, never reused.
    pub uid: Uid,
    /// The index of the log entry that last changed the spec; 0 for reported objects.
    pub version: u64,
    /// What was asked, as in this kind's `...Spec`; empty for reported objects.
    #[serde(default)]
    pub spec: serde_json::Value,
    /// What the reporters say, ordered by reporter and facet.
    #[serde(default)]
    pub slots: Vec<Slot>,
}

impl Object {
    /// The newest meta slot, if any.
    pub fn meta(&self) -> Option<&Slot> {
        self.slots.iter().filter(|slot| slot.facet == Facet::Meta).min_by_key(|slot| slot.age_ms)
    }

    /// The newest stats slot, if any.
    pub fn stats(&self) -> Option<&Slot> {
        self.slots.iter().filter(|slot| slot.facet == Facet::Stats).min_by_key(|slot| slot.age_ms)
    }

    /// The newest meta as this kind's `...Meta` type, if there is any and it reads as one.
    pub fn meta_as<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        self.meta().and_then(|slot| serde_json::from_value(slot.data.clone()).ok())
    }

    /// The spec as this kind's `...Spec` type.
    pub fn spec_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_value(self.spec.clone())
    }
}

/// What one reporter says of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Slot {
    /// Who says it: `<service>@<node>`.
    pub reporter: String,
    /// Which half.
    pub facet: Facet,
    /// The reporter's restart counter: wall time of its start in milliseconds, never going back.
    pub incarnation: u64,
    /// Counts the reporter's publications within its incarnation.
    pub sequence: u64,
    /// Milliseconds since this replica received it.
    pub age_ms: u64,
    /// As in this kind's `...Meta` or `...Stats`.
    pub data: serde_json::Value,
}
