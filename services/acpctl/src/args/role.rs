//! Verbs on roles.

use acp_base::Name;
use clap::Subcommand;

use super::Names;

/// Verbs on roles.
#[derive(Clone, Debug, Subcommand)]
pub enum RoleVerb {
    /// List the roles with their units and nodes
    List,
    /// Say which units a role stands for, and which nodes have it; what is not given stays as it is
    Set {
        /// The role; a new one needs its units
        role: Name,
        /// Its units from now on, with commas between
        #[arg(long, value_name = "UNITS", required_unless_present = "nodes")]
        units: Option<Names>,
        /// The nodes that have it from now on, with commas between
        #[arg(long, value_name = "NODES")]
        nodes: Option<Names>,
    },
}
