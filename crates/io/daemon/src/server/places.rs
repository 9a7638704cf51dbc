//! How many connections may be open, and whose: a user who opens as many as possible leaves room for others, and strangers
//! together leave room for root and the daemons.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Open connections, all callers together: what a node of a thousand systems needs, several times over.
const MAX: usize = 4096;
/// Kept for root and the daemons, out of all.
const RESERVED: usize = 1024;
/// Open connections of root, or of one daemon.
const PER_UID_MAX: usize = 2048;
/// Open connections of one other user, so that a few such users cannot lock the others out.
const PER_STRANGER_MAX: usize = 512;

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_uid: BTreeMap<u32, usize>,
    total: usize,
    strangers: usize,
}

/// Why there is no place: which bound is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Full {
    User { uid: u32, max: usize },
    Strangers,
    All,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { uid, max } => write!(f, "{max} open connections of uid {uid}"),
            Self::Strangers => write!(f, "{} open connections of users that are no daemons", MAX - RESERVED),
            Self::All => write!(f, "{MAX} open connections"),
        }
    }
}

/// One open connection; its place is given back however its task ends.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    uid: u32,
    is_ours: bool,
}

impl Places {
    /// How many connections are open.
    pub(super) fn taken(&self) -> usize {
        self.lock().total
    }

    /// A place for a connection of this user, who is root or a daemon (`is_ours`) or somebody else.
    pub(super) fn take(self: &Arc<Self>, uid: u32, is_ours: bool) -> Result<Place, Full> {
        let mut taken = self.lock();
        let max = if is_ours { PER_UID_MAX } else { PER_STRANGER_MAX };
        if taken.by_uid.get(&uid).is_some_and(|own| *own >= max) {
            return Err(Full::User { uid, max });
        }
        if !is_ours && taken.strangers >= MAX - RESERVED {
            return Err(Full::Strangers);
        }
        if taken.total >= MAX {
            return Err(Full::All);
        }
        *taken.by_uid.entry(uid).or_default() += 1;
        taken.total += 1;
        taken.strangers += usize::from(!is_ours);
        Ok(Place { places: Arc::clone(self), uid, is_ours })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        taken.strangers -= usize::from(!self.is_ours);
        if let Some(own) = taken.by_uid.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                taken.by_uid.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_and_no_strangers_together_lock_the_others_out() {
        let places = Arc::<Places>::default();
        let mut held = Vec::new();
        let mut fill = |uid, is_ours| loop {
            match places.take(uid, is_ours) {
                Ok(place) => held.push(place),
                Err(full) => return full,
            }
        };
        assert_eq!(fill(1000, false), Full::User { uid: 1000, max: PER_STRANGER_MAX });
        for uid in 1001..1005 {
            assert_eq!(fill(uid, false), Full::User { uid, max: PER_STRANGER_MAX });
        }
        assert_eq!(fill(1005, false), Full::User { uid: 1005, max: PER_STRANGER_MAX });
        assert_eq!(fill(1006, false), Full::Strangers);
        assert_eq!(fill(0, true), Full::All);
        assert_eq!(places.taken(), MAX);
        assert_eq!(held.iter().filter(|place| place.uid == 0).count(), RESERVED);
        held.clear();
        assert_eq!(places.taken(), 0);
        assert!(places.lock().by_uid.is_empty());
    }
}
