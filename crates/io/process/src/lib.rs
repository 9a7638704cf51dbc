//! The one runner of external tools: `qemu-img`, `curl`, `nft`, `ip`.
//!
//! A tool runs in a clean environment (a fixed `PATH`, `LC_ALL=C` and what the caller names), in a process group of its
//! own, with a time limit and with bounds on what it may write. It inherits the standard streams given here, the
//! descriptors named by [`Command::inherit`], the working directory or the one named, and the ambient capabilities of
//! its caller; nothing else.
//!
//! Deliberately not here: a shell, a terminal, daemons that outlive their caller (those are units of the framework),
//! and what any tool's output means.
//!
//! **Invariant**: a tool never outlives its [`Process`]: the end of the time limit, a drop and the death of the calling
//! process all kill it.
//!
//! ```no_run
//! # async fn example() -> Result<(), acp_io_process::ProcessError> {
//! use acp_io_process::Command;
//!
//! let output = Command::new("nft").args(["-j", "-f", "-"]).stdin(b"{}".to_vec()).run_ok().await?;
//! # drop(output);
//! # Ok(())
//! # }
//! ```
//!
//! Driven by the services that own a tool.

mod command;
mod error;
mod output;
mod process;

pub use command::{Command, ENVIRONMENT_PATH, STDOUT_BYTES_MAX, TIME_LIMIT};
pub use error::ProcessError;
pub use output::{LINE_BYTES_MAX, Output, STDERR_BYTES_KEPT};
pub use process::Process;
