//! Processes of units: how one is described to its shim, started, recorded, found again, watched and signalled.
//!
//! Two sides use this crate. The shim uses [`launch`], [`record`], [`capability`], [`procfs`] and [`bind_notify`], which are plain blocking
//! code (feature `supervise` off). The framework uses the rest, too. Deliberately not here: when a unit starts or restarts
//! (`acp-core-supervise`), and what a shim does with a description (`services/shim`).
//!
//! **Invariant**: a process is never named by its id alone, always by id and start time, and is signalled through a pidfd
//! that was opened while both matched; so no signal reaches a stranger that got a recycled id.

pub mod capability;
pub mod guard;
mod inherited;
pub mod launch;
pub mod procfs;
pub mod record;

#[cfg(feature = "supervise")]
mod account;
#[cfg(feature = "supervise")]
mod directory;
#[cfg(feature = "supervise")]
mod listen;
mod notify;
#[cfg(feature = "supervise")]
mod process;
#[cfg(feature = "supervise")]
mod readiness;
#[cfg(feature = "supervise")]
mod spawn;

pub use inherited::close_on_exec;

#[cfg(feature = "supervise")]
pub use account::{User, group, user};
#[cfg(feature = "supervise")]
pub use directory::{Ownership, ensure_directory};
#[cfg(feature = "supervise")]
pub use listen::{ListenError, PATH_BYTES_MAX, bind, is_bound_to};
#[cfg(feature = "supervise")]
pub use notify::NotifySocket;
pub use notify::{Notification, bind_notify, receive_notification};
#[cfg(feature = "supervise")]
pub use process::{Process, wait_for_end, wait_for_record};
#[cfg(feature = "supervise")]
pub use spawn::{SpawnError, Spawned, spawn};
