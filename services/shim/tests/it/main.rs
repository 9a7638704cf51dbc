//! The shim with real processes. What needs root says so and is skipped without.

mod guard;
mod unit;

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// The program under test.
const SHIM: &str = env!("CARGO_BIN_EXE_acp-shim");

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits for a condition; says what was last seen if it does not come.
fn wait_for<T, S: Debug>(what: &str, condition: impl Fn() -> Result<T, S>) -> T {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(seen) => assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} for {what}; last seen: {seen:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether this process may become somebody else; said aloud if not.
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped {test}: needs root");
    }
    is_root
}
