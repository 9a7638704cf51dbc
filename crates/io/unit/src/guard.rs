//! The guard, as the program that it guards sees it.

use rustix::process::{Pid, getppid};

/// The environment variable that tells the guarded program its guard's process id.
pub const VARIABLE: &str = "ACP_GUARD_PID";

/// The guard of this process; `None` if it was started without one, or has lost it.
pub fn of_this_process() -> Option<Pid> {
    let told: i32 = std::env::var(VARIABLE).ok()?.parse().ok()?;
    getppid().filter(|parent| parent.as_raw_nonzero().get() == told)
}
