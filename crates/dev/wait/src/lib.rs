//! Waiting for a condition with a limit, the only way in which tests wait.
//!
//! A condition answers `Ok` with what was waited for, and otherwise what it saw instead, which a failure repeats. It bounds
//! its own calls: a limit ends the waiting between two looks, not a look.
//!
//! Deliberately not here: anything of ACP. Tests of every layer wait, and none of them shall be built again because a node
//! for tests (`crates/dev/testkit`) has changed.

use std::{
    fmt::{Debug, Display},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// The pause after the first look. Most of what tests wait for inside one process holds within a millisecond or two.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Each pause is twice the one before, up to this: looks leave the processors to those that are waited for.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// One wait: what for, how long, and how long the next pause is.
struct Wait<'a> {
    what: &'a str,
    started: Instant,
    limit: Duration,
    pause: Duration,
}

impl<'a> Wait<'a> {
    fn start(what: &'a str, limit: Duration) -> Self {
        Self { what, started: Instant::now(), limit, pause: PAUSE_MIN }
    }

    /// How long to pause after a look that saw this; fails when the limit has passed.
    fn next_pause(&mut self, seen: impl Display) -> Result<Duration> {
        if self.started.elapsed() >= self.limit {
            bail!("waited {:.1} s for {}; last seen: {seen}", self.limit.as_secs_f64(), self.what);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Ok(pause)
    }
}

/// Looks at a condition until it holds and answers what it found; after `limit` it fails and says what it saw last.
pub fn wait_for<T, S: Display>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<T, S>) -> Result<T> {
    let mut wait = Wait::start(what, limit);
    loop {
        match condition() {
            Ok(found) => return Ok(found),
            Err(seen) => std::thread::sleep(wait.next_pause(seen)?),
        }
    }
}

/// As [`wait_for`], on a runtime of tokio.
#[cfg(feature = "tokio")]
pub async fn wait_for_async<T, S: Display>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, S>,
) -> Result<T> {
    let mut wait = Wait::start(what, limit);
    loop {
        match condition().await {
            Ok(found) => return Ok(found),
            Err(seen) => tokio::time::sleep(wait.next_pause(seen)?).await,
        }
    }
}

/// A condition of [`wait_for`]: the value, if it is as wanted.
///
/// # Errors
/// The value as it was seen instead.
pub fn seen<T: Debug>(value: T, is_wanted: impl FnOnce(&T) -> bool) -> Result<T, String> {
    if is_wanted(&value) { Ok(value) } else { Err(format!("{value:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never holds and says how often it was looked at.
    fn look(looks: &mut u32) -> Result<(), String> {
        *looks += 1;
        seen(*looks, |_looks| false).map(drop)
    }

    #[test]
    fn a_condition_that_never_holds_fails_with_what_was_seen_last() {
        let mut looks = 0;
        let error = wait_for("a miracle", Duration::from_millis(50), || look(&mut looks)).expect_err("it cannot hold");
        assert!(looks > 1, "one look");
        assert_eq!(error.to_string(), format!("waited 0.1 s for a miracle; last seen: {looks}"));
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let mut wait = Wait::start("a miracle", Duration::from_secs(1_000));
        let pauses = [(); 7].map(|()| wait.next_pause("nothing").expect("there is time").as_millis());
        assert_eq!(pauses, [1, 2, 4, 8, 16, 20, 20]);
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn it_is_the_same_where_looks_are_awaited() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut looks = 0;
        let limit = Duration::from_millis(50);
        let error = runtime.block_on(wait_for_async("a miracle", limit, async || look(&mut looks)));
        assert_eq!(
            error.expect_err("it cannot hold").to_string(),
            format!("waited 0.1 s for a miracle; last seen: {looks}")
        );
        let found = runtime.block_on(wait_for_async("two", limit, async || {
            looks = if looks > 2 { 1 } else { looks + 1 };
            seen(looks, |looks| *looks == 2)
        }));
        assert_eq!(found.expect("it comes"), 2);
    }
}
