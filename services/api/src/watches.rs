//! How many watches may be open, and whose.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_base::{Blame, Code, Failure, Uid};

use crate::{
    access::Identity,
    limits::{WATCHES_MAX, WATCHES_PER_KEY_MAX},
    metrics,
};

/// The open watches by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    open: Arc<Mutex<BTreeMap<Uid, usize>>>,
}

/// One open watch; its place is given back however it ends.
#[derive(Debug)]
pub(crate) struct Permit {
    watches: Watches,
    owner: Uid,
}

impl Watches {
    /// A place for one more watch.
    pub(crate) fn open(&self, identity: Option<&Identity>) -> Result<Permit, Failure> {
        let owner = identity.map_or(Uid::from_u128(0), Identity::uid);
        self.take(owner)
    }

    fn take(&self, owner: Uid) -> Result<Permit, Failure> {
        let mut open = self.lock();
        let (own, total) = (open.get(&owner).copied().unwrap_or_default(), open.values().sum::<usize>());
        let (count, max, whose) = if own >= WATCHES_PER_KEY_MAX {
            (own, WATCHES_PER_KEY_MAX, "this key")
        } else {
            (total, WATCHES_MAX, "all keys")
        };
        if count >= max {
            let text = format!("{max} watches of {whose} are open, the most this API takes: close some");
            return Err(Failure::new(Code::ResourceExhausted, text).blame(Blame::Caller));
        }
        open.insert(owner, own + 1);
        metrics::watches(total + 1);
        Ok(Permit { watches: self.clone(), owner })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.watches.lock();
        if let Some(own) = open.get_mut(&self.owner) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.owner);
            }
        }
        metrics::watches(open.values().sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_takes_all_and_places_are_given_back() {
        let watches = Watches::default();
        let mut held = Vec::new();
        let mut fill = |owner| {
            let mut count = 0;
            while let Ok(permit) = watches.take(Uid::from_u128(owner)) {
                held.push(permit);
                count += 1;
            }
            count
        };
        assert_eq!((1..=5).map(&mut fill).collect::<Vec<_>>(), [16, 16, 16, 16, 0]);
        held.clear();
        assert!(watches.lock().is_empty());
    }
}
