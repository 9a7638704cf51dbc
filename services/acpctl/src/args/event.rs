//! Verbs on the entries of the cluster's log.

use std::str::FromStr;

use acp_client::EventStart;
use clap::Subcommand;

/// Verbs on the entries of the cluster's log.
#[derive(Clone, Debug, Subcommand)]
pub enum EventVerb {
    /// List what has happened, and print the cursor to go on with
    List {
        /// Begin with the entry of this index, or after the one of this cursor, of whichever node [default: the newest ones]
        #[arg(long, value_name = "CURSOR|INDEX")]
        from: Option<StartArg>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Print what happens from there on, until it is ended; goes on when daemons restart
    Follow {
        /// Begin with the entry of this index, or after the one of this cursor [default: what happens from now on]
        #[arg(long, value_name = "CURSOR|INDEX")]
        from: Option<StartArg>,
    },
    /// Declare the opposite of an entry that created, changed or deleted an object
    Undo {
        /// Its index
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        index: u64,
    },
    /// Recompute the chain of hashes over this node's log; fails if it does not verify
    Verify,
}

/// Where events begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartArg(pub EventStart);

impl FromStr for StartArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|failure: acp_base::Failure| failure.message)
    }
}
