//! Verbs on the cluster.

use acp_base::Name;
use clap::Subcommand;

use super::NodeAddress;

/// Verbs on the cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum ClusterVerb {
    /// Make this node the first of a new cluster, and its control plane
    Init {
        /// What the cluster is called
        #[arg(default_value = "acp")]
        name: Name,
        /// The address at which other nodes reach this one [default: the host's first that is neither loopback nor link-local]
        #[arg(long, value_name = "IP[:PORT]")]
        address: Option<NodeAddress>,
    },
    /// Show this node's cluster, and whether its control plane is heard
    Status,
}
