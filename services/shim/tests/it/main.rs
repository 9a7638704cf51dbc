//! The shim with real processes. What needs root says so and is skipped without.

mod guard;
mod unit;

use std::time::Duration;

/// The program under test.
const SHIM: &str = env!("CARGO_BIN_EXE_acp-shim");

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Whether this process may become somebody else; said aloud if not.
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped {test}: needs root");
    }
    is_root
}
