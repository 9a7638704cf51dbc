//! The links of this network namespace: read, changed, watched; and taps opened.
//!
//! [`Netlink`] lists links with their addresses and counters and performs single changes; [`Monitor`] says that something
//! changed; [`open_tap`] makes a tap that lives as long as its descriptor. All of them work in the network namespace of
//! the thread that calls `open`.
//!
//! Deliberately not here: which link should look how (`acp-core-netplan`), and whether it is ours to change: the caller
//! checks before each change.
//!
//! **Invariant**: what the kernel says and we cannot read is a link of [`Kind::Unknown`], never an error and never absent,
//! so that a newer kernel neither stops the service nor makes it believe that a link is missing.
//!
//! Driven by `services/network`, which also runs the [`Driver`]s on its tasks.

mod decode;
mod link;
mod message;
mod monitor;
mod netlink;
mod tap;

pub use link::{Kind, Link, Stats};
pub use monitor::Monitor;
pub use netlink::{Driver, Netlink, NetlinkError};
pub use tap::{TUN_DEVICE, TapError, open_tap};
