//! The promised figures, measured: ours and the peer's in one run, with their ratio.
//!
//! Deliberately not here: judging whether a figure is good; the limits come from `docs/promises.md`.
//!
//! **Invariant**: both sides of a figure are measured alternately in the same run, on the same machine, under the same load.

pub mod api;
pub mod bare_tls;
pub mod catch_up;
mod cluster;
mod cpu;
pub mod detect;
mod etcd;
pub mod failover_leader;
pub mod figure;
pub mod footprint;
mod http;
pub mod join;
pub mod lease_load;
mod load;
pub mod local_call;
mod programs;
pub mod propagate;
pub mod reads;
pub mod recover;
mod registers;
pub mod remote_call;
pub mod scale;
pub mod spec_write;
pub mod system_start;
pub mod tunnel;
pub mod watch;

use std::path::{Path, PathBuf};

use anyhow::Result;

pub use figure::{Figure, Report};
pub use programs::Peers;

/// What a bench is given.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The programs of ACP, in release mode.
    pub bin: PathBuf,
    /// The demo image.
    pub image: PathBuf,
    /// The peers' programs, for the benches that have some.
    pub peers: Option<Peers>,
}

impl Setup {
    pub(crate) fn peers(&self) -> Result<&Peers> {
        self.peers.as_ref().ok_or_else(|| anyhow::anyhow!("this bench has peers: say with --peers where they are"))
    }

    /// The demo image as text for a command line.
    pub(crate) fn image(&self) -> Result<&str> {
        self.image.to_str().ok_or_else(|| anyhow::anyhow!("the image's path is no UTF-8"))
    }
}

/// Runs the future on a runtime of one thread, as the daemons do.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Starts a node for a bench.
pub(crate) fn node(bin: &Path) -> Result<acp_dev_testkit::Node> {
    acp_dev_testkit::Node::start(bin)
}
