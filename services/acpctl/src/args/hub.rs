//! Verbs on the voters of the cluster's log.

use acp_base::Name;
use clap::Subcommand;

/// Verbs on the voters of the cluster's log.
#[derive(Clone, Debug, Subcommand)]
pub enum HubVerb {
    /// Show the voters, who leads them, and how far each is
    Status,
    /// Give the leadership to another voter, for example before its node is shut down
    Transfer {
        /// The voter [default: the one that is least behind]
        #[arg(value_name = "NODE")]
        to: Option<Name>,
    },
    /// Begin a new epoch with this node as the only voter, after the majority was lost for good
    Recover {
        /// Only say what would be lost
        #[arg(long)]
        plan: bool,
    },
}
