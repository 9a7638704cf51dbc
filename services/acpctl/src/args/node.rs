//! Verbs on nodes and on the tokens with which they join.

use std::path::PathBuf;

use acp_base::{Name, Uid};
use clap::{Args, Subcommand};

use super::{ConditionArg, NameArg, Names, NodeAddress, Span, ValueArg};

/// Verbs on nodes.
#[derive(Clone, Debug, Subcommand)]
pub enum NodeVerb {
    /// List the members of the cluster, or those for which everything given holds
    List(Box<NodeListArgs>),
    /// Show one member, and this node's links to it
    Show(NameArg),
    /// Bring this node into the cluster of another one: with a token, or by asking, which an operator there has to approve
    Join(JoinArgs),
    /// Bring this node back into its cluster: it was removed, was restored from an old disk, or has missed too much. Its systems
    /// stay and go on
    Rejoin(RejoinArgs),
    /// Take this node out of its cluster; its systems, networks and volumes stay
    Leave {
        /// Leave even if the control plane does not answer; it goes on listing this node until it is removed there
        #[arg(long)]
        force: bool,
    },
    /// Take a member out of the cluster: its certificate counts no more
    Remove {
        /// The node
        name: Name,
        /// Only say what would happen, beginning with what stands against it; fails if something does
        #[arg(long)]
        plan: bool,
    },
    /// Give a member another name, everywhere it is named
    Rename {
        /// The node
        name: Name,
        /// Its name from now on
        to: Name,
    },
    /// Say where the others reach a member from now on
    Readdress {
        /// The node
        name: Name,
        /// Its address
        #[arg(value_name = "IP[:PORT]")]
        address: NodeAddress,
    },
    /// Note values of a member under names, like zone=a, or forget some; node list --where finds nodes by them
    Set {
        /// The node
        name: Name,
        /// What is noted from now on: true, false, a whole number or a text; in double quotes a value is a text in any case
        #[arg(value_name = "NAME=VALUE", required_unless_present = "unset")]
        values: Vec<ValueArg>,
        /// Names of what is forgotten, with commas between
        #[arg(long, value_name = "NAMES")]
        unset: Option<Names>,
    },
    /// Set a member aside that will be away for long: it is no voter, and nothing waits for it
    Park(NameArg),
    /// Expect a member again
    Unpark(NameArg),
    /// List the nodes that ask to join
    Requests,
    /// Let a node join that has asked
    Approve {
        /// The request's id, or its beginning or end as far as it is unique
        id: String,
    },
    /// Turn a node away that has asked
    Reject {
        /// The request's id, or its beginning or end as far as it is unique
        id: String,
    },
    /// Tokens, with which nodes join
    #[command(subcommand)]
    Token(TokenVerb),
}

/// Which members are listed. Everything but `--follow` is asked of the control plane.
#[derive(Clone, Debug, Args)]
pub struct NodeListArgs {
    /// Only those that are online, or with =no that are not
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = boolish())]
    pub online: Option<bool>,
    /// Only those that run the control plane, or with =no that do not
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = boolish())]
    pub controller: Option<bool>,
    /// Only those that are set aside, or with =no that are not
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = boolish())]
    pub parked: Option<bool>,
    /// Only those with this role
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Name>,
    /// Only those that run this service, by their roles
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<Name>,
    /// Only those of which this was noted by node set, or with != was not; several have to hold together
    #[arg(long = "where", value_name = "NAME=VALUE")]
    pub conditions: Vec<ConditionArg>,
    /// Go on with every change, until it is ended; goes on when a controller is gone
    #[arg(short, long)]
    pub follow: bool,
}

fn boolish() -> clap::builder::BoolishValueParser {
    clap::builder::BoolishValueParser::new()
}

/// What a node needs to join.
#[derive(Clone, Debug, Args)]
pub struct JoinArgs {
    /// Where a member of the cluster is reached
    #[arg(value_name = "IP[:PORT]")]
    pub member: NodeAddress,
    /// Where the token comes from; without one, the node asks.
    #[command(flatten)]
    pub token: TokenSource,
    /// The address at which other nodes reach this one [default: the one from which the member is reached]
    #[arg(long, value_name = "IP[:PORT]")]
    pub address: Option<NodeAddress>,
    /// Only say what would happen, beginning with what stands against it; fails if something does. Needs a token
    #[arg(long)]
    pub plan: bool,
    /// Without a token: how long to wait for an operator there, at most 1h
    #[arg(long, value_name = "TIME", default_value = "10m", conflicts_with_all = ["token", "token_file"])]
    pub wait: Span,
    /// Without a token: the fingerprint of the cluster's authority, if it is known; another one is refused
    #[arg(long, value_name = "SHA256", value_parser = fingerprint, conflicts_with_all = ["token", "token_file"])]
    pub fingerprint: Option<String>,
}

/// What a node needs to come back.
#[derive(Clone, Debug, Args)]
pub struct RejoinArgs {
    /// Where a member of the cluster is reached
    #[arg(value_name = "IP[:PORT]")]
    pub member: NodeAddress,
    /// Where the token comes from.
    #[command(flatten)]
    pub token: TokenSource,
    /// The address at which other nodes reach this one [default: the one from which the member is reached]
    #[arg(long, value_name = "IP[:PORT]")]
    pub address: Option<NodeAddress>,
}

/// A SHA-256 has 32 bytes.
const FINGERPRINT_DIGITS: usize = 64;

/// Hexadecimal digits, with or without colons and in either case, as tools print them; answered without and in lower case.
fn fingerprint(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    if digits.len() != FINGERPRINT_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("{text:?} is no fingerprint: it is 64 hexadecimal digits"));
    }
    Ok(digits)
}

/// Where a token comes from.
#[derive(Clone, Debug, Args)]
pub struct TokenSource {
    /// The token of `node token create`. Others see it in the list of processes: --token-file is better
    #[arg(long, env = "ACP_TOKEN", hide_env_values = true, value_name = "TOKEN", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// A file whose first line is the token; - is the standard input, on a terminal it is asked for
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
