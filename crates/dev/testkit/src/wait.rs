//! Waiting for a condition with a limit, the only way in which tests wait.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How often a condition is looked at. Short against everything waited for (tens of milliseconds and more), long enough to
/// leave the processors to those that are waited for.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks at a condition until it holds and answers what it found; after `limit` it fails and says what it saw last.
///
/// The condition answers `Ok` when it holds and otherwise what it saw.
pub fn wait_for<T, S: Display>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<T, S>) -> Result<T> {
    let started = Instant::now();
    loop {
        let seen = match condition() {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if started.elapsed() >= limit {
            bail!("waited {:.1} s for {what}; last seen: {seen}", limit.as_secs_f64());
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_fails_with_what_was_seen_last() {
        let mut looks = 0;
        let error = wait_for("a miracle", Duration::from_millis(50), || {
            looks += 1;
            Err::<(), _>(format!("look {looks}"))
        });
        let message = error.expect_err("it cannot hold").to_string();
        assert!(looks > 1 && message.contains("a miracle") && message.ends_with(&format!("look {looks}")), "{message}");
    }
}
