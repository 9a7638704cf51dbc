//! Leases: the right of one node to run one system, as the leader of the control plane, a node and a system's dead-man timer
//! each see it.
//!
//! Grants, releases and revocations are entries of the log and are decided in apply; that is deliberately not here. What lives
//! in memory is here: when the leader heard of whom ([`Sessions`]), what a node may run until when ([`Claims`]), and when a
//! machine is paused and killed ([`DeadMan`]). Time comes in as instants of the host's own `CLOCK_BOOTTIME`; those of two hosts
//! are never compared.
//!
//! ```text
//!  node    S sent ───────────── pause S+4 s ── kill S+5.5 s
//!               ╲                                         ╲ the difference pays for killing and for rates of clocks
//!  leader        R answered ─────────────────────────────── R+8 s: may be revoked, then granted to another
//! ```
//!
//! **Invariant**: at no instant do two nodes run a system. It rests on six rules:
//!
//! 1. A node counts from the instant at which it sent the request, the leader from when it took it, which is later.
//! 2. A leader answers only if it was the leader at an instant close before, or after, it took the request
//!    ([`Sessions::renew`]'s `confirmed`): who was deposed and does not know extends nothing.
//! 3. A new leader revokes nothing for a full time to live: that is how long answers of earlier leaders count.
//! 4. What is being revoked is not renewed until the log has decided.
//! 5. A node that asks for what it does not hold gets a new term even if the log says that it has the lease: a release of
//!    the earlier term which is still on its way then changes nothing.
//! 6. A lease is extended only by a request that names it, so one that its holder has forgotten ends.

mod claims;
mod deadman;
mod sessions;
mod timing;

pub use claims::{Claims, News};
pub use deadman::{DeadMan, Deadlines, Due, OldTerm};
pub use sessions::{Fact, LEASES_MAX, RenewError, Renewal, Sessions};
pub use timing::{Timing, TimingError};
