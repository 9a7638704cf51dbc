//! Control groups: one group a unit, in whatever hierarchies this host has.
//!
//! Linux has three layouts, told apart by what is mounted: `v1` (a hierarchy per controller), `v2` (one for all) and `hybrid`
//! (controllers in v1, and a v2 hierarchy without them for tracking). [`Cgroups`] finds out which, [`Group`] is one unit's
//! groups in all of them. Deliberately not here: which limits a unit has.
//!
//! **Invariant**: nothing outside the folder of the given name is changed, with one exception that v2 demands: if the parent
//! of that folder holds processes, they are moved into a group below it, because a group with processes cannot give its
//! controllers to groups below.
//!
//! Driven by `services/framework`.

mod error;
mod group;
mod probe;
mod tree;

pub use error::CgroupError;
pub use group::{Group, Limits, Usage};
pub use probe::{Layout, Version};
pub use tree::Cgroups;
