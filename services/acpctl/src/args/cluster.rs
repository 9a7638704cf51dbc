//! Verbs on the cluster.

use std::path::PathBuf;

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
    /// Show this node's cluster, whether its control plane is heard, and how far this node's database is
    Status,
    /// Write everything that is needed to make this cluster anew elsewhere to a file, which is a secret
    Backup {
        /// The new file; it is written aside, for its owner alone, and then renamed
        file: PathBuf,
        /// Replace the file if there is one
        #[arg(long)]
        force: bool,
    },
    /// Make the cluster of a backup anew on this node, which is in none, or orders that cluster's log alone
    Restore {
        /// The backup
        file: PathBuf,
        /// Only say what would happen
        #[arg(long)]
        plan: bool,
    },
    /// Raise the cluster's feature level, once the programs of all nodes know it: older ones cannot come back after it
    Upgrade {
        /// Only say what would happen and what stands against it
        #[arg(long)]
        plan: bool,
    },
    /// Say how many voters the cluster shall have: so many of its nodes keep its log
    Voters {
        /// 1, 3 or 5: the cluster goes on while more than half of them do
        #[arg(value_parser = voters)]
        count: u32,
    },
}

fn voters(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("there are 1, 3 or 5: an even number would survive no more than the odd one below it".to_owned()),
    }
}
