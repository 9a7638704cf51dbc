//! Which members watch the directory now: that is what online means; and when those that say so were last alive. An observation of this hub and, at the leader, of the
//! other voters' hubs that tell it; kept nowhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_base::{BootInstant, Uid};
use acp_core_membership::State;
use acp_io_daemon::boot_now;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Watches of one member: the one that it has, and one whose end has not been noticed yet. One more ends the oldest.
const WATCHES_MAX: usize = 2;

/// How long what another voter has told counts. It tells it twice a second.
const TOLD_MAX: Duration = Duration::from_secs(3);

/// After which silence a word is told at once: two of the keep-alives that come twice a second are missing.
const NEWS_AFTER: Duration = Duration::from_millis(1_500);

/// Who watches. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    members: Arc<Mutex<BTreeMap<Uid, Seen>>>,
    news: Arc<watch::Sender<()>>,
}

/// What is known of a member now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// Whether it watches anywhere.
    pub(crate) online: bool,
    /// When it last said that it lives; none: it never does, and its silence says nothing.
    pub(crate) heard: Option<BootInstant>,
}

#[derive(Debug)]
struct Seen {
    /// Here, the oldest first.
    watches: Vec<CancellationToken>,
    /// At the hubs of other voters, with when they last said so.
    elsewhere: BTreeMap<Uid, BootInstant>,
    /// When it last said that it lives; none: never in this session, so that its silence says nothing.
    heard: Option<BootInstant>,
    is_online: bool,
    /// Since when it is as it is.
    since: BootInstant,
}

impl Seen {
    fn new(now: BootInstant) -> Self {
        Self { watches: Vec::new(), elsewhere: BTreeMap::new(), heard: None, is_online: false, since: now }
    }

    /// Looks again whether it is online.
    fn settle(&mut self, now: BootInstant) {
        self.elsewhere.retain(|_, told| now.since(*told) < TOLD_MAX);
        let is_online = !self.watches.is_empty() || !self.elsewhere.is_empty();
        if is_online != self.is_online {
            (self.is_online, self.since, self.heard) = (is_online, now, None);
        }
    }

    /// When it is no longer online if no other voter says so again.
    fn lapses(&self) -> Option<BootInstant> {
        let is_elsewhere = self.is_online && self.watches.is_empty();
        self.elsewhere.values().max().filter(|_| is_elsewhere).map(|told| *told + TOLD_MAX)
    }
}

impl Presence {
    /// A member watches from now on, until the watch is dropped.
    pub(crate) fn open(&self, member: Uid) -> Watch {
        let (ended, now) = (CancellationToken::new(), boot_now());
        {
            let mut members = self.lock();
            let seen = members.entry(member).or_insert_with(|| Seen::new(now));
            if seen.watches.len() >= WATCHES_MAX {
                seen.watches.remove(0).cancel();
            }
            seen.watches.push(ended.clone());
            seen.settle(now);
        }
        self.changed();
        Watch { presence: self.clone(), member, ended }
    }

    /// A member that watches here says that it lives.
    pub(crate) fn heard(&self, member: Uid) {
        let now = boot_now();
        let silence = {
            let mut members = self.lock();
            let Some(seen) = members.get_mut(&member).filter(|seen| !seen.watches.is_empty()) else { return };
            seen.heard.replace(now).map(|before| now.since(before))
        };
        // The first word of all, or after a silence, is news; that one follows the other is not.
        if silence.is_none_or(|silence| silence > NEWS_AFTER) {
            self.news.send_replace(());
        }
    }

    /// Another voter says who watches at its hub, and for how many milliseconds those that keep alive have been silent.
    pub(crate) fn reported(&self, voter: Uid, watchers: &[Uid], silent_ms: &BTreeMap<Uid, u64>) {
        let now = boot_now();
        let mut members = self.lock();
        let watching: BTreeSet<Uid> = watchers.iter().copied().collect();
        for (_, seen) in members.iter_mut().filter(|(member, _)| !watching.contains(member)) {
            if seen.elsewhere.remove(&voter).is_some() {
                seen.settle(now);
            }
        }
        for member in &watching {
            let seen = members.entry(*member).or_insert_with(|| Seen::new(now));
            seen.elsewhere.insert(voter, now);
            seen.settle(now);
            let heard = silent_ms.get(member).map(|ms| before(now, *ms));
            seen.heard = seen.heard.max(heard);
        }
        drop(members);
        self.news.send_replace(());
    }

    /// Who watches here.
    pub(crate) fn watchers(&self) -> Vec<Uid> {
        self.lock().iter().filter(|(_, seen)| !seen.watches.is_empty()).map(|(member, _)| *member).collect()
    }

    /// Of those who watch here and keep alive, for how many milliseconds each has been silent.
    pub(crate) fn silent_ms(&self) -> BTreeMap<Uid, u64> {
        let now = boot_now();
        let members = self.lock();
        let here = members.iter().filter(|(_, seen)| !seen.watches.is_empty());
        here.filter_map(|(member, seen)| Some((*member, millis(now, seen.heard?)))).collect()
    }

    /// What is known of each member that was ever seen, and when that has to be looked at again if nothing is heard meanwhile.
    pub(crate) fn sightings(&self) -> (BTreeMap<Uid, Sighting>, Option<BootInstant>) {
        let now = boot_now();
        let mut members = self.lock();
        let seen = |(member, seen): (&Uid, &mut Seen)| {
            seen.settle(now);
            (*member, Sighting { online: seen.is_online, heard: seen.heard })
        };
        let sightings = members.iter_mut().map(seen).collect();
        (sightings, members.values().filter_map(Seen::lapses).min())
    }

    /// Tells when somebody came online, or went, or was heard after a silence.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// How many members are online.
    pub(crate) fn online(&self) -> usize {
        let now = boot_now();
        let mut members = self.lock();
        members.values_mut().for_each(|seen| seen.settle(now));
        members.values().filter(|seen| seen.is_online).count()
    }

    /// Whether a member is online and for how many milliseconds that has been so; absent: it was not seen yet.
    pub(crate) fn of(&self, member: Uid) -> (bool, Option<u64>) {
        let now = boot_now();
        match self.lock().get_mut(&member) {
            Some(seen) => {
                seen.settle(now);
                (seen.is_online, Some(millis(now, seen.since)))
            }
            None => (false, None),
        }
    }

    /// Forgets whoever is no member any more.
    pub(crate) fn keep(&self, state: &State) {
        self.lock().retain(|member, _| state.members().contains_key(member));
        metrics::online(self.online());
    }

    fn close(&self, watch: &Watch) {
        // Tokens are compared by asking: those of others are not cancelled by now.
        watch.ended.cancel();
        if let Some(seen) = self.lock().get_mut(&watch.member) {
            seen.watches.retain(|ended| !ended.is_cancelled());
            seen.settle(boot_now());
        }
        self.changed();
    }

    fn changed(&self) {
        metrics::online(self.online());
        self.news.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Seen>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(now: BootInstant, then: BootInstant) -> u64 {
    u64::try_from(now.since(then).as_millis()).unwrap_or(u64::MAX)
}

fn before(now: BootInstant, ms: u64) -> BootInstant {
    BootInstant::from_nanos(now.as_nanos().saturating_sub(ms.saturating_mul(1_000_000)))
}

/// A member that watches.
#[derive(Debug)]
pub(crate) struct Watch {
    presence: Presence,
    member: Uid,
    ended: CancellationToken,
}

impl Watch {
    /// Returns when newer watches of the same member have taken its place.
    pub(crate) async fn displaced(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let presence = self.presence.clone();
        presence.close(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: Uid = Uid::from_u128(1);

    #[test]
    fn a_member_is_online_while_any_watch_of_it_is_open() {
        let presence = Presence::default();
        assert_eq!(presence.of(MEMBER), (false, None));
        let (first, second) = (presence.open(MEMBER), presence.open(MEMBER));
        assert_eq!((presence.online(), presence.of(MEMBER).0), (1, true));
        drop(first);
        assert!(presence.of(MEMBER).0);
        drop(second);
        assert_eq!(presence.online(), 0);
        assert!(matches!(presence.of(MEMBER), (false, Some(_))), "it was seen");
    }

    #[test]
    fn the_oldest_watch_makes_room_and_its_end_takes_nobody_offline() {
        let presence = Presence::default();
        let watches = [presence.open(MEMBER), presence.open(MEMBER), presence.open(MEMBER)];
        assert_eq!(watches.each_ref().map(|watch| watch.ended.is_cancelled()), [true, false, false]);
        let [first, second, third] = watches;
        drop(first);
        assert!(presence.of(MEMBER).0);
        drop(second);
        drop(third);
        assert!(!presence.of(MEMBER).0);
    }

    #[test]
    fn what_other_voters_tell_counts_as_long_as_they_tell_it() {
        let presence = Presence::default();
        let (here, there) = (Uid::from_u128(2), Uid::from_u128(3));
        presence.reported(here, &[MEMBER], &BTreeMap::new());
        presence.reported(there, &[MEMBER], &BTreeMap::new());
        assert_eq!((presence.online(), presence.of(MEMBER).0), (1, true));
        assert_eq!(presence.watchers(), [], "those are not watched for here");
        presence.reported(here, &[], &BTreeMap::new());
        assert!(presence.of(MEMBER).0, "one of both has it still");
        presence.reported(there, &[], &BTreeMap::new());
        assert!(!presence.of(MEMBER).0);
        presence.reported(here, &[MEMBER], &BTreeMap::new());
        let long_ago = BootInstant::from_nanos(1);
        presence.lock().get_mut(&MEMBER).expect("it was seen").elsewhere.insert(here, long_ago);
        assert!(!presence.of(MEMBER).0, "a voter that has fallen silent says nothing");
    }

    #[test]
    fn who_never_keeps_alive_is_not_silent_and_who_did_is_heard_wherever_it_watches() {
        let presence = Presence::default();
        let heard = |presence: &Presence| presence.sightings().0[&MEMBER].heard;
        let watch = presence.open(MEMBER);
        assert_eq!((heard(&presence), presence.silent_ms()), (None, BTreeMap::new()));
        presence.heard(MEMBER);
        let here = heard(&presence).expect("it said so");
        assert_eq!(presence.silent_ms().into_keys().collect::<Vec<_>>(), [MEMBER]);
        let voter = Uid::from_u128(2);
        presence.reported(voter, &[MEMBER], &BTreeMap::from([(MEMBER, 60_000)]));
        assert_eq!(heard(&presence), Some(here), "what another voter heard before is no news");
        drop(watch);
        presence.heard(MEMBER);
        assert_eq!(heard(&presence), Some(here), "it does not watch here any more");
        assert!(presence.sightings().1.is_some(), "it lapses unless the voter says it again");
        presence.reported(voter, &[], &BTreeMap::new());
        presence.reported(voter, &[MEMBER], &BTreeMap::new());
        assert_eq!(heard(&presence), None, "in a new session it has not said anything");
    }

    #[test]
    fn who_is_no_member_is_forgotten() {
        let presence = Presence::default();
        let watch = presence.open(MEMBER);
        presence.keep(&State::default());
        assert_eq!(presence.of(MEMBER), (false, None));
        drop(watch);
        assert_eq!(presence.of(MEMBER), (false, None));
    }
}
