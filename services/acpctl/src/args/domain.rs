//! `acpctl domain` and `acpctl top`.

use acp_base::Name;
use clap::{Args, Subcommand};

use super::Span;

/// Verbs on domains.
#[derive(Clone, Debug, Subcommand)]
pub enum DomainVerb {
    /// List the domains: how many nodes they have, and how they are reached from here
    List,
    /// Show how this node and the others of its domain hear each other, and by which relays it hears the rest
    Show,
    /// Say of which domain a member is: the nodes that one link connects
    Assign {
        /// The node
        node: Name,
        /// Its domain from now on; default is the one of nodes of which nothing was said
        domain: Name,
    },
}

/// What `top` takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct TopArgs {
    /// Show it again and again, in this time each, until it is interrupted
    #[arg(long, value_name = "TIME")]
    pub every: Option<Span>,
}
