//! Verbs on systems.

use acp_base::{ByteSize, Name};
use clap::Subcommand;

use super::{NameArg, Span, Wait};

/// Verbs on systems.
#[derive(Clone, Debug, Subcommand)]
pub enum SystemVerb {
    /// Create a system with its disk
    Create {
        /// The new system
        name: Name,
        /// The image its disk is made from
        #[arg(long, required_unless_present = "disk")]
        image: Option<Name>,
        /// Virtual processors, 1 to 512 [default: 1]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
        cpus: Option<u32>,
        /// Memory, like 256MiB [default: 256MiB]
        #[arg(long, value_name = "SIZE")]
        memory: Option<ByteSize>,
        /// Size of its disk [default: the image's]; without --image the disk is empty
        #[arg(long, value_name = "SIZE")]
        disk: Option<ByteSize>,
        /// The pool of its disk [default: the image's]
        #[arg(long)]
        pool: Option<Name>,
        /// The node it shall be on [default: the one that creates it]
        #[arg(long, value_name = "NODE")]
        on: Option<Name>,
        /// A network to attach it to; can be given several times
        #[arg(long = "network", value_name = "NETWORK")]
        networks: Vec<Name>,
        /// Start it whenever the node starts
        #[arg(long)]
        autostart: bool,
        /// It may run on other nodes, too, and therefore only under a lease; without it, its node runs it without asking anybody
        #[arg(long)]
        floating: bool,
        /// Start it as soon as it is created, for which its disks are waited for
        #[arg(long)]
        start: bool,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// List all systems
    List,
    /// Show one system
    Show(NameArg),
    /// Start a system
    Start {
        /// The system
        name: Name,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// End a system at once, as if its plug were pulled
    Stop {
        /// The system
        name: Name,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Ask a system's guest to power off
    Shutdown {
        /// The system
        name: Name,
        /// How long the guest may take [default: 60s]
        #[arg(long, value_name = "TIME")]
        within: Option<Span>,
        /// End it at once when that time is over
        #[arg(long)]
        force: bool,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Press a system's reset button
    Reset(NameArg),
    /// Delete a stopped system with its disks
    Delete {
        /// The system
        name: Name,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Attach the terminal to a system's serial console; Ctrl-] leaves
    Console {
        /// The system
        name: Name,
        /// Show only this many of the last bytes of output first [default: all that is held]
        #[arg(long, value_name = "BYTES")]
        backlog: Option<u32>,
    },
    /// Print the end of a running system's console log
    Log {
        /// The system
        name: Name,
        /// How many of the last bytes, at most 1048576
        #[arg(short = 'n', long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
        bytes: u32,
        /// Go on with new output
        #[arg(short, long)]
        follow: bool,
    },
}
