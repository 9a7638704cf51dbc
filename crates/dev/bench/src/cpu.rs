//! Processor time that was spent.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

/// By the calling thread.
pub(crate) fn of_thread() -> Result<Duration> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Ok(Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?))
}

/// By these processes, all their threads that still run taken together.
pub(crate) fn of_processes(pids: &[i32]) -> Result<Duration> {
    let mut nanoseconds = 0;
    for pid in pids {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} has ended"))?;
        for thread in threads {
            nanoseconds += of_task(&thread?.path().join("schedstat"))?;
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The first number: nanoseconds on a processor. A thread that has just ended has spent nothing any more.
fn of_task(path: &std::path::Path) -> Result<u64> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(0) };
    text.split(' ').next().unwrap_or_default().parse().with_context(|| format!("{} holds {text:?}", path.display()))
}
