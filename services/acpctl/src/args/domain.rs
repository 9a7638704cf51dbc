//! `acpctl domain` and `acpctl top`.

use clap::{Args, Subcommand};

use super::Span;

/// Verbs on domains.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum DomainVerb {
    /// List the domains: how many nodes they have, and how they are reached from here
    List,
    /// Show how this node and the others of its domain hear each other
    Show,
}

/// What `top` takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct TopArgs {
    /// Show it again and again, in this time each, until it is interrupted
    #[arg(long, value_name = "TIME")]
    pub every: Option<Span>,
}
