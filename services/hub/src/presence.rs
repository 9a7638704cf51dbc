//! Which members watch the directory now: that is what online means. An observation of this hub, kept nowhere.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_base::{BootInstant, Uid};
use acp_core_membership::State;
use acp_io_daemon::boot_now;
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Watches of one member: the one that it has, and one whose end has not been noticed yet. One more ends the oldest.
const WATCHES_MAX: usize = 2;

/// Who watches. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    members: Arc<Mutex<BTreeMap<Uid, Seen>>>,
}

#[derive(Debug)]
struct Seen {
    /// The oldest first.
    watches: Vec<CancellationToken>,
    /// Since when it is as it is.
    since: BootInstant,
}

impl Presence {
    /// A member watches from now on, until the watch is dropped.
    pub(crate) fn open(&self, member: Uid) -> Watch {
        let ended = CancellationToken::new();
        {
            let mut members = self.lock();
            let seen = members.entry(member).or_insert_with(|| Seen { watches: Vec::new(), since: boot_now() });
            if seen.watches.is_empty() {
                seen.since = boot_now();
            }
            if seen.watches.len() >= WATCHES_MAX {
                seen.watches.remove(0).cancel();
            }
            seen.watches.push(ended.clone());
        }
        metrics::online(self.online());
        Watch { presence: self.clone(), member, ended }
    }

    /// How many members are online.
    pub(crate) fn online(&self) -> usize {
        self.lock().values().filter(|seen| !seen.watches.is_empty()).count()
    }

    /// Whether a member is online and for how many milliseconds that has been so; absent: it was not seen yet.
    pub(crate) fn of(&self, member: Uid) -> (bool, Option<u64>) {
        match self.lock().get(&member) {
            Some(seen) => {
                let for_ms = boot_now().since(seen.since).as_millis();
                (!seen.watches.is_empty(), Some(u64::try_from(for_ms).unwrap_or(u64::MAX)))
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
            let before = seen.watches.len();
            seen.watches.retain(|ended| !ended.is_cancelled());
            if seen.watches.is_empty() && before > 0 {
                seen.since = boot_now();
            }
        }
        metrics::online(self.online());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Seen>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    fn who_is_no_member_is_forgotten() {
        let presence = Presence::default();
        let watch = presence.open(MEMBER);
        presence.keep(&State::default());
        assert_eq!(presence.of(MEMBER), (false, None));
        drop(watch);
        assert_eq!(presence.of(MEMBER), (false, None));
    }
}
