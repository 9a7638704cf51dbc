//! Verbs on nodes and on the tokens with which they join.

use std::path::PathBuf;

use acp_base::Uid;
use clap::{Args, Subcommand};

use super::{NameArg, NodeAddress, Span};

/// Verbs on nodes.
#[derive(Clone, Debug, Subcommand)]
pub enum NodeVerb {
    /// List the members of the cluster
    List,
    /// Show one member, and this node's links to it
    Show(NameArg),
    /// Bring this node into the cluster of another one
    Join(JoinArgs),
    /// Take this node out of its cluster; its systems, networks and volumes stay
    Leave {
        /// Leave even if the control plane does not answer; it goes on listing this node until it is removed there
        #[arg(long)]
        force: bool,
    },
    /// Take a member out of the cluster: its certificate counts no more
    Remove(NameArg),
    /// Tokens, with which nodes join
    #[command(subcommand)]
    Token(TokenVerb),
}

/// What a node needs to join.
#[derive(Clone, Debug, Args)]
pub struct JoinArgs {
    /// Where a member of the cluster is reached
    #[arg(value_name = "IP[:PORT]")]
    pub member: NodeAddress,
    /// Where the token comes from.
    #[command(flatten)]
    pub token: TokenSource,
    /// The address at which other nodes reach this one [default: the one from which the member is reached]
    #[arg(long, value_name = "IP[:PORT]")]
    pub address: Option<NodeAddress>,
    /// Only say what would happen, beginning with what stands against it; fails if something does
    #[arg(long)]
    pub plan: bool,
}

/// Where a token comes from; from the terminal, if nothing is given.
#[derive(Clone, Debug, Args)]
pub struct TokenSource {
    /// The token of `node token create`. Others see it in the list of processes: --token-file is better, and without either
    /// it is asked for
    #[arg(long, env = "ACP_TOKEN", hide_env_values = true, value_name = "TOKEN", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// A file whose first line is the token; - is the standard input
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Verbs on tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenVerb {
    /// Make a token and print it; it is shown this once
    Create {
        /// How long it counts, at most 720h
        #[arg(long, value_name = "TIME", default_value = "1h")]
        lifetime: Span,
        /// How many nodes may join with it
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        uses: u32,
        /// Root of a node that joins gets no rights on the other nodes
        #[arg(long)]
        no_root_key: bool,
    },
    /// List the tokens that still count, without their secrets
    List,
    /// End a token
    Revoke {
        /// The token's id
        id: Uid,
    },
}
