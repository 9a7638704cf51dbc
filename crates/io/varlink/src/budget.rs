//! What all connections of a daemon may hold together in unfinished messages, calls and unread replies.
//!
//! Each bound of one connection is generous; their sum is not affordable. Whoever goes beyond a sum makes the connection
//! that holds most of it close, so that those who hold little never pay for others. What every connection holds anyway (a
//! few KiB) is not counted, so that small messages never come here.
//!
//! **Invariant**: once a connection is chosen it counts no more; it ends as soon as its task runs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

/// Bounds on what is held, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldMax {
    /// By all connections of one user.
    pub uid_bytes: usize,
    /// By all connections.
    pub total_bytes: usize,
}

/// What a connection holds memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A message that has not arrived whole.
    Receiving,
    /// A call that is being answered.
    Answering,
    /// A reply that the peer does not read.
    Sending,
}

impl Purpose {
    const COUNT: usize = 3;
}

/// The sums of all connections.
#[derive(Debug)]
pub struct Budget {
    max: HeldMax,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    next: u64,
    /// Connections that hold anything. Their numbers grow: the lower, the older.
    holders: BTreeMap<u64, Holder>,
    /// The sums of the holders by user.
    by_uid: BTreeMap<u32, usize>,
    total: usize,
}

#[derive(Debug)]
struct Holder {
    uid: u32,
    bytes: [usize; Purpose::COUNT],
    fate: Arc<Fate>,
}

impl Holder {
    fn total(&self) -> usize {
        self.bytes.iter().sum()
    }
}

/// Whether a connection was chosen to be closed.
#[derive(Debug, Default)]
struct Fate {
    is_chosen: AtomicBool,
    wake: Notify,
}

impl Ledger {
    fn of(&self, uid: u32) -> usize {
        self.by_uid.get(&uid).copied().unwrap_or_default()
    }

    fn set(&mut self, account: &Account, purpose: Purpose, bytes: usize) {
        let holder = self.holders.entry(account.id).or_insert_with(|| Holder {
            uid: account.uid,
            bytes: [0; Purpose::COUNT],
            fate: Arc::clone(&account.fate),
        });
        let before = std::mem::replace(&mut holder.bytes[purpose as usize], bytes);
        let is_empty = holder.total() == 0;
        self.change(account.uid, before, bytes);
        if is_empty {
            self.remove(account.id);
        }
    }

    fn change(&mut self, uid: u32, before: usize, after: usize) {
        self.total = self.total + after - before;
        let own = self.by_uid.entry(uid).or_default();
        *own = *own + after - before;
        if *own == 0 {
            self.by_uid.remove(&uid);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Holder> {
        let holder = self.holders.remove(&id)?;
        self.change(holder.uid, holder.total(), 0);
        Some(holder)
    }

    /// The user who holds most.
    fn greediest(&self) -> Option<u32> {
        self.by_uid.iter().max_by_key(|(_, bytes)| **bytes).map(|(uid, _)| *uid)
    }

    /// Ends the connection of this user that holds most; among equals the oldest.
    fn evict(&mut self, uid: u32) {
        let own = self.holders.iter().filter(|(_, holder)| holder.uid == uid);
        let chosen = own.max_by_key(|(id, holder)| (holder.total(), std::cmp::Reverse(**id))).map(|(id, _)| *id);
        if let Some(holder) = chosen.and_then(|id| self.remove(id)) {
            holder.fate.is_chosen.store(true, Ordering::Relaxed);
            holder.fate.wake.notify_one();
        }
    }
}

impl Budget {
    /// Nothing is held yet.
    pub fn new(max: HeldMax) -> Arc<Self> {
        Arc::new(Self { max, ledger: Mutex::default() })
    }

    /// What may be held.
    pub fn max(&self) -> HeldMax {
        self.max
    }

    /// What is held now, in bytes.
    pub fn held(&self) -> usize {
        self.lock().total
    }

    /// The account of a new connection of this user.
    pub fn open(self: &Arc<Self>, uid: u32) -> Arc<Account> {
        let mut ledger = self.lock();
        ledger.next += 1;
        Arc::new(Account { budget: Arc::clone(self), uid, id: ledger.next, fate: Arc::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection holds.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    uid: u32,
    id: u64,
    fate: Arc<Fate>,
}

impl Account {
    /// From now on the connection holds this many bytes for this purpose. Whoever is chosen if that is too much, this
    /// connection included, sees it in [`Self::evicted`].
    pub fn hold(&self, purpose: Purpose, bytes: usize) {
        let mut ledger = self.budget.lock();
        if self.fate.is_chosen.load(Ordering::Relaxed) {
            return;
        }
        ledger.set(self, purpose, bytes);
        if ledger.of(self.uid) > self.budget.max.uid_bytes {
            ledger.evict(self.uid);
        }
        if ledger.total > self.budget.max.total_bytes
            && let Some(uid) = ledger.greediest()
        {
            ledger.evict(uid);
        }
    }

    /// Returns when the connection was chosen to be closed.
    pub async fn evicted(&self) {
        self.fate.wake.notified().await;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: HeldMax = HeldMax { uid_bytes: 100, total_bytes: 150 };

    fn is_evicted(account: &Account) -> bool {
        let mut future = std::pin::pin!(account.evicted());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn the_greediest_connection_of_a_user_pays_for_the_user() {
        let budget = Budget::new(MAX);
        let [small, large, other] = [budget.open(1), budget.open(1), budget.open(2)];
        small.hold(Purpose::Receiving, 20);
        large.hold(Purpose::Receiving, 50);
        large.hold(Purpose::Sending, 20);
        other.hold(Purpose::Receiving, 5);
        small.hold(Purpose::Receiving, 30);
        assert_eq!(budget.held(), 105);
        small.hold(Purpose::Receiving, 31);
        assert_eq!((is_evicted(&small), is_evicted(&large), is_evicted(&other)), (false, true, false));
        assert_eq!(budget.held(), 36);
    }

    #[test]
    fn the_greediest_user_pays_for_all_and_among_equals_the_oldest_connection() {
        let budget = Budget::new(MAX);
        let greedy: Vec<_> = (0..4).map(|_| budget.open(1)).collect();
        greedy.iter().for_each(|account| account.hold(Purpose::Receiving, 20));
        let modest = budget.open(2);
        modest.hold(Purpose::Receiving, 71);
        assert_eq!(greedy.iter().map(|account| is_evicted(account)).collect::<Vec<_>>(), [true, false, false, false]);
        assert!(!is_evicted(&modest));
    }

    #[test]
    fn what_is_no_longer_held_counts_no_more() {
        let budget = Budget::new(MAX);
        let account = budget.open(1);
        account.hold(Purpose::Answering, 90);
        account.hold(Purpose::Answering, 0);
        account.hold(Purpose::Receiving, 90);
        assert!(!is_evicted(&account));
        drop(account);
        assert_eq!(budget.held(), 0);
    }
}
