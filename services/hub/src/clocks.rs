//! What time it is, as most voters have it: what is in the log ends by the times of its entries, and no clock that is wrong alone
//! ends it.
//!
//! Voters tell the leader their clocks; entries get the median. A leader that was elected just now has not been told any: it goes by
//! its own clock if that agrees with how long ago the last entry was ordered, and else waits for a moment until the others have told
//! theirs.
//!
//! Deliberately not here: leases, which are counted by clocks that nobody sets.
//!
//! **Invariant**: while the clocks of a majority of voters are right, and they are heard, so are the times of entries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_base::{BootInstant, Uid, WallTime};
use acp_io_daemon::{boot_now, wall_now};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// How long what a voter has told counts. It tells it twice a second.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// How long voters are waited for that have not told their clocks to a leader whose own does not agree with the log.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How far a clock may be from the log's and agree with it: more than clocks that somebody keeps right differ, and nothing that
/// ends is so short.
const AGREES_MS: u64 = 10_000;

/// What a clock showed, and when.
#[derive(Clone, Copy, Debug)]
struct Told {
    wall: WallTime,
    at: BootInstant,
}

impl Told {
    /// What it shows at another instant, if it goes on.
    fn shows(self, now: BootInstant) -> WallTime {
        let elapsed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        WallTime(self.wall.0.saturating_add(elapsed))
    }
}

#[derive(Debug, Default)]
struct Known {
    /// The other voters' clocks.
    told: BTreeMap<Uid, Told>,
    /// The time of the newest entry, when it was applied here.
    log: Option<Told>,
}

/// The voters' clocks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks {
    known: Arc<Mutex<Known>>,
    news: Arc<watch::Sender<()>>,
}

impl Clocks {
    /// Another voter says what its clock shows.
    pub(crate) fn told(&self, voter: Uid, wall: WallTime) {
        self.lock().told.insert(voter, Told { wall, at: boot_now() });
        self.news.send_replace(());
    }

    /// An entry of this time was applied.
    pub(crate) fn applied(&self, time: WallTime) {
        let mut known = self.lock();
        if known.log.is_none_or(|log| log.wall < time) {
            known.log = Some(Told { wall: time, at: boot_now() });
        }
    }

    /// The time at a leader of these voters.
    pub(crate) async fn now(&self, here: Option<Uid>, voters: &BTreeSet<Uid>) -> WallTime {
        let mut news = self.news.subscribe();
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let own = Told { wall: wall_now(), at: boot_now() };
            let decided = self.lock().decide(here, voters, own);
            if let Some(time) = decided {
                return time;
            }
            if timeout_at(deadline, news.changed()).await.is_err() {
                tracing::warn!("this hub's clock and the log's do not agree, and too few voters say what theirs show");
                return own.wall;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The time, if it is certain enough.
    fn decide(&mut self, here: Option<Uid>, voters: &BTreeSet<Uid>, own: Told) -> Option<WallTime> {
        self.told.retain(|voter, told| voters.contains(voter) && own.at.since(told.at) < TOLD_MAX);
        let others = self.told.iter().filter(|(voter, _)| Some(**voter) != here).map(|(_, told)| told.shows(own.at));
        let mut clocks: Vec<WallTime> = others.chain([own.wall]).collect();
        let log = self.log.map(|log| log.shows(own.at));
        if clocks.len() * 2 <= voters.len() {
            return log.filter(|log| log.0.abs_diff(own.wall.0) <= AGREES_MS).map(|_log| own.wall);
        }
        // Of two that contradict each other, the log knows better which is right.
        clocks.extend(log.filter(|_| clocks.len().is_multiple_of(2)));
        clocks.sort_unstable();
        clocks.get((clocks.len() - 1) / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_800_000_000_000);
    const DAY_MS: u64 = 86_400_000;
    const HERE: Option<Uid> = Some(Uid::from_u128(1));

    fn at(ms: u64) -> BootInstant {
        BootInstant::from_nanos(1_000_000_000_000 + ms * 1_000_000)
    }

    fn voters(count: u128) -> BTreeSet<Uid> {
        (1..=count).map(Uid::from_u128).collect()
    }

    /// Two seconds after these voters said what their clocks showed.
    fn decided(count: u128, told: &[(u128, u64)], log: Option<u64>, own: u64) -> Option<u64> {
        let clock = |wall| Told { wall: WallTime(wall), at: at(0) };
        let told = told.iter().map(|(voter, wall)| (Uid::from_u128(*voter), clock(*wall))).collect();
        let mut known = Known { told, log: log.map(clock) };
        known.decide(HERE, &voters(count), Told { wall: WallTime(own), at: at(2_000) }).map(|time| time.0)
    }

    #[test]
    fn one_clock_that_is_a_day_off_does_not_count() {
        let (then, now) = (NOW.0, NOW.0 + 2_000);
        for off in [then + DAY_MS, then - DAY_MS, then + 3_600_000, then - 3_600_000] {
            assert_eq!(decided(3, &[(2, then), (3, then)], None, off), Some(now), "the leader's");
            assert_eq!(decided(3, &[(2, off), (3, then)], None, now), Some(now), "a follower's");
            assert_eq!(decided(5, &[(2, off), (3, then), (4, then)], None, now), Some(now), "with one away");
            assert_eq!(decided(3, &[], Some(then), off), None, "others have to be heard first");
            assert_eq!(decided(3, &[(2, off)], Some(then), now), Some(now), "one of two that are there");
            assert_eq!(decided(3, &[(2, then)], Some(then), off), Some(now), "and it is the leader's");
        }
        assert_eq!(decided(1, &[], None, now), Some(now), "there is no other");
        assert_eq!(decided(3, &[], Some(then), now + 500), Some(now + 500), "it agrees with the log");
        assert_eq!(decided(3, &[], None, now), None);
    }

    #[test]
    fn a_voter_that_fell_silent_does_not_count() {
        let stale = Told { wall: NOW, at: at(0) };
        let told = [2, 3].map(|voter| (Uid::from_u128(voter), stale)).into();
        let mut known = Known { told, log: None };
        let own = Told { wall: WallTime(NOW.0 + DAY_MS), at: at(60_000) };
        assert_eq!(known.decide(HERE, &voters(3), own), None);
        let elsewhere = [7, 8].map(|voter| (Uid::from_u128(voter), Told { at: own.at, ..stale })).into();
        let mut known = Known { told: elsewhere, log: None };
        assert_eq!(known.decide(HERE, &voters(3), own), None, "they do not vote");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_waits_for_others_and_not_for_ever() {
        let (clocks, three) = (Clocks::default(), voters(3));
        let day_ago = WallTime(wall_now().0 - DAY_MS);
        clocks.applied(day_ago);
        assert!(clocks.now(HERE, &three).await >= WallTime(day_ago.0 + DAY_MS), "nobody says anything");
        let told = clocks.clone();
        let (time, ()) = tokio::join!(clocks.now(HERE, &three), async move {
            told.told(Uid::from_u128(2), day_ago);
            told.told(Uid::from_u128(3), day_ago);
        });
        assert!(time.0 < day_ago.0 + DAY_MS / 2, "{time:?} and not what two of three have");
    }
}
