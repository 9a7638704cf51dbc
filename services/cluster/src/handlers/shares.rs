//! What each user may have open at once: who opens as many watches as possible, or reads none of what they send, leaves the
//! others theirs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use acp_base::{Code, Failure};
use acp_io_daemon::Caller;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::metrics;

/// Open watches and followed logs: a few for each service, console and browser of a node.
const WATCHES_MAX: usize = 1_024;
/// Kept for root and the daemons, out of all.
const WATCHES_RESERVED: usize = 256;
/// Watches of one other user.
const WATCHES_PER_STRANGER_MAX: usize = 128;
/// Lists of all objects on their way to one user. Each holds references to up to 100,000 objects until its last batch is
/// read, some megabytes; one more waits.
const LISTINGS_PER_USER_MAX: usize = 16;
/// Lists of the past on their way to one user: each holds a state of its own, which may be as large as the replica.
const PAST_LISTINGS_PER_USER_MAX: usize = 1;

/// All users' shares.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    users: Mutex<BTreeMap<u32, Weak<Share>>>,
    watches: AtomicUsize,
}

/// What one user has open.
#[derive(Debug)]
pub(super) struct Share {
    watches: AtomicUsize,
    listings: Semaphore,
    past_listings: Semaphore,
}

impl Share {
    /// Waits until one more list of objects may be on its way to this user.
    pub(super) async fn listing(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.listings.acquire().await.map_err(|_closed| Failure::internal("nobody closes the semaphore"))
    }

    /// The same of objects as they were.
    pub(super) async fn past_listing(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.past_listings.acquire().await.map_err(|_closed| Failure::internal("nobody closes the semaphore"))
    }
}

impl Shares {
    /// How many watches are open.
    pub(super) fn watches(&self) -> usize {
        self.watches.load(Ordering::Relaxed)
    }

    /// The share of this caller's user.
    pub(super) fn of(&self, caller: &Caller) -> Arc<Share> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = users.get(&caller.uid).and_then(Weak::upgrade) {
            return share;
        }
        users.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Share {
            watches: AtomicUsize::new(0),
            listings: Semaphore::new(LISTINGS_PER_USER_MAX),
            past_listings: Semaphore::new(PAST_LISTINGS_PER_USER_MAX),
        });
        users.insert(caller.uid, Arc::downgrade(&share));
        share
    }

    /// Counts one more watch of this caller.
    pub(super) fn open_watch(self: &Arc<Self>, caller: &Caller) -> Result<OpenWatch, Failure> {
        let is_ours = caller.uid == 0 || caller.daemon().is_some();
        let share = self.of(caller);
        let own = share.watches.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.watches.fetch_add(1, Ordering::Relaxed) + 1;
        let watch = OpenWatch { shares: Arc::clone(self), share };
        metrics::watches(all);
        let full = |text: String| Err(Failure::new(Code::ResourceExhausted, text));
        if !is_ours && own > WATCHES_PER_STRANGER_MAX {
            return full(format!(
                "{WATCHES_PER_STRANGER_MAX} watches of uid {} are open, the most there can be: close some",
                caller.uid
            ));
        }
        let max = if is_ours { WATCHES_MAX } else { WATCHES_MAX - WATCHES_RESERVED };
        if all > max {
            return full(format!("{max} watches are open, the most there can be: close some"));
        }
        Ok(watch)
    }
}

/// A watch that is counted while it is open.
#[derive(Debug)]
pub(super) struct OpenWatch {
    shares: Arc<Shares>,
    share: Arc<Share>,
}

impl OpenWatch {
    /// The share of the watch's user.
    pub(super) fn share(&self) -> &Share {
        &self.share
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.share.watches.fetch_sub(1, Ordering::Relaxed);
        metrics::watches(self.shares.watches.fetch_sub(1, Ordering::Relaxed) - 1);
    }
}
