//! Verbs on API keys.

use acp_base::Name;
use acp_wire_api::Scope;
use clap::{Subcommand, ValueEnum};

use super::Span;

/// Verbs on API keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyVerb {
    /// Make a key and print its secret; it is shown this once
    Create {
        /// The new key
        name: Name,
        /// The most that it may do
        #[arg(long, value_enum, value_name = "SCOPE")]
        scope: ScopeArg,
        /// How long it counts [default: until it is revoked]
        #[arg(long, value_name = "TIME")]
        lifetime: Option<Span>,
    },
    /// List the keys, without their secrets
    List,
    /// End a key, on every node as soon as it hears of it
    Revoke {
        /// The key; root of node n1 has root@n1
        name: String,
    },
}

/// What a key may do at most; each has those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScopeArg {
    /// Look
    Read,
    /// Change power states and use consoles
    Operate,
    /// Change specs, volumes and images
    Write,
    /// Change nodes and the cluster itself
    Admin,
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Read => Self::Read,
            ScopeArg::Operate => Self::Operate,
            ScopeArg::Write => Self::Write,
            ScopeArg::Admin => Self::Admin,
        }
    }
}
