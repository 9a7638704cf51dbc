//! The rules of leases one by one: what the leader answers, what a node makes of it.

mod claims;
mod sessions;

use acp_base::{BootInstant, Uid};

/// A node.
pub(crate) const N1: Uid = Uid::from_u128(101);
/// Another.
pub(crate) const N2: Uid = Uid::from_u128(102);
/// A system.
pub(crate) const DB: Uid = Uid::from_u128(1);

/// An instant of the host's clock.
pub(crate) const fn at(millis: u64) -> BootInstant {
    BootInstant::from_millis(millis)
}
