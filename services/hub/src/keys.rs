//! The group keys of this cluster's datagrams, as this hub knows them: which there are, which one is sealed with, and when a new
//! one is due. The leader makes them; other hubs keep what it told them, so that whoever leads next goes on with the same.
//!
//! Deliberately not here: who is asked, and when (`handlers/keys.rs`); what a key does (`acp_io_datagram`).
//!
//! **Invariants**: secrets are in memory alone, never in the log, a snapshot, a record or a message of a log. A key's number is
//! above those of all keys known when it was made. A key that somebody who was removed knows is handed out no longer than the
//! next one needs to be sealed with.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use acp_base::{BootInstant, Uid, from_hex, to_hex};
use acp_io_datagram::{CryptoError, GroupKey};
use acp_wire_api::hub::{SyncKey, SyncKeysReply};
use serde::{Deserialize, Serialize};

/// How long members that are online are waited for before a new key is sealed with although they have not said that they have
/// it: they ask every few seconds, and whoever does not is not to hold up a rotation after a removal.
pub(crate) const SEAL_AFTER: Duration = Duration::from_secs(5);

/// How long a key is the newest: a day bounds what somebody learns who has read one out of a node's memory, and a rotation costs
/// each node one call.
pub(crate) const LIFETIME: Duration = Duration::from_secs(86_400);

/// Keys that count at a time, as with whoever opens datagrams: the newest and the one before.
const KEYS_MAX: usize = 2;

/// Up to where the log's indices number keys: beyond, each is one above the last, and as many are left as removals and days can
/// use up.
const INDEX_MAX: u32 = 1 << 31;

/// How far above everything known here a number may be that a member says it has: a member whose hubs have all forgotten it is
/// believed, and none can use the numbers up.
const NUMBER_LEAP_MAX: u32 = 1 << 20;

/// What one hub tells another of the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The epoch in which they count.
    pub(crate) epoch: String,
    /// The newest first; none: this hub knows none.
    pub(crate) keys: Vec<SyncKey>,
    /// Which one is sealed with.
    pub(crate) seal: u32,
    /// How old the newest is, in milliseconds.
    pub(crate) age_ms: u64,
    /// Who had been removed when the newest was made.
    pub(crate) removed: BTreeSet<Uid>,
    /// Whether the one before goes as soon as the newest is sealed with.
    pub(crate) retires: bool,
}

impl Kept {
    /// What a member is told.
    pub(crate) fn reply(self) -> SyncKeysReply {
        SyncKeysReply { keys: self.keys, seal: self.seal, epoch: self.epoch }
    }

    fn newest(&self) -> Option<u32> {
        self.keys.first().map(|key| key.number)
    }
}

/// What the leader knows of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Where its log ends: it grows with everything that is ordered and with each election.
    pub(crate) index: u64,
    pub(crate) members: BTreeSet<Uid>,
    /// Members that were removed and are none again.
    pub(crate) removed: BTreeSet<Uid>,
    pub(crate) online: BTreeSet<Uid>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A key was made, and why.
    Made(u32, &'static str),
    /// The newest is sealed with from now on.
    Sealed(u32),
}

/// The keys of one epoch.
#[derive(Debug)]
pub(crate) struct Keys {
    epoch: String,
    /// The newest first.
    keys: Vec<GroupKey>,
    seal: u32,
    /// When the newest was made.
    made: BootInstant,
    removed: BTreeSet<Uid>,
    retires: bool,
    /// At the leader: the newest key that each member has said to have.
    installed: BTreeMap<Uid, u32>,
}

impl Keys {
    /// None yet.
    pub(crate) fn new(now: BootInstant) -> Self {
        let (keys, removed, installed) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        Self { epoch: String::new(), keys, seal: 0, made: now, removed, retires: false, installed }
    }

    /// This epoch is the present one: keys of another one are forgotten.
    pub(crate) fn enter(&mut self, epoch: &str, now: BootInstant) {
        if self.epoch != epoch {
            *self = Self { epoch: epoch.to_owned(), ..Self::new(now) };
        }
    }

    #[cfg(test)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What others are told.
    pub(crate) fn kept(&self, now: BootInstant) -> Kept {
        let told = |key: &GroupKey| SyncKey { number: key.number(), secret: to_hex(key.expose()) };
        Kept {
            epoch: self.epoch.clone(),
            keys: self.keys.iter().map(told).collect(),
            seal: self.seal,
            age_ms: u64::try_from(now.since(self.made).as_millis()).unwrap_or(u64::MAX),
            removed: self.removed.clone(),
            retires: self.retires,
        }
    }

    /// Goes by what the leader says; what is of another epoch or no key is passed over.
    pub(crate) fn follow(&mut self, kept: &Kept, now: BootInstant) {
        let keys: Option<Vec<GroupKey>> = kept.keys.iter().take(KEYS_MAX).map(read).collect();
        let Some(keys) = keys.filter(|keys| kept.epoch == self.epoch && !keys.is_empty()) else { return };
        let age = Duration::from_millis(kept.age_ms).min(LIFETIME);
        let made = now.as_nanos().saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        (self.keys, self.seal, self.made) = (keys, kept.seal, BootInstant::from_nanos(made));
        (self.removed, self.retires) = (kept.removed.clone(), kept.retires);
    }

    /// As a new leader: goes on with the newest keys that any of the other voters keeps, or its own.
    pub(crate) fn succeed(&mut self, others: &[Kept], now: BootInstant) {
        self.installed.clear();
        let newest = others.iter().filter(|kept| kept.epoch == self.epoch).max_by_key(|kept| kept.newest());
        if let Some(kept) = newest.filter(|kept| kept.newest() > self.keys.first().map(GroupKey::number)) {
            self.follow(kept, now);
        }
    }

    /// At the leader: a member says what it has; answers whether that is new.
    pub(crate) fn installed(&mut self, member: Uid, number: u32) -> bool {
        self.installed.insert(member, number) != Some(number)
    }

    /// At the leader: why a new key is due.
    pub(crate) fn due(&self, now: BootInstant, view: &View) -> Option<&'static str> {
        if self.keys.is_empty() {
            Some("there is none")
        } else if view.removed.iter().any(|node| !self.removed.contains(node)) {
            Some("a member was removed")
        } else if now.since(self.made) >= SEAL_AFTER && self.known_elsewhere().is_some() {
            Some("a member has one that no hub knows")
        } else if now.since(self.made) >= LIFETIME {
            Some("the last one is a day old")
        } else {
            None
        }
    }

    /// At the leader: makes a key if one is due, and seals with the newest if it is time.
    pub(crate) fn step(&mut self, now: BootInstant, view: &View) -> Result<Option<Step>, CryptoError> {
        // Who was removed, came back and is removed again knows what was made meanwhile.
        self.removed.retain(|node| view.removed.contains(node));
        self.installed.retain(|member, _number| view.members.contains(member));
        if let Some(why) = self.due(now, view) {
            let was_removed = view.removed.iter().any(|node| !self.removed.contains(node));
            let number = self.make(view.index)?;
            self.retires = self.keys.len() > 1 && (self.retires || was_removed);
            (self.made, self.removed) = (now, view.removed.clone());
            return Ok(Some(Step::Made(number, why)));
        }
        Ok(self.activate(now, view).map(Step::Sealed))
    }

    /// The newest key that a member says it has and no hub knows: made by a leader that was gone before any other hub heard of it.
    fn known_elsewhere(&self) -> Option<u32> {
        let newest = self.keys.first().map_or(0, GroupKey::number);
        let is_believed = |number: &u32| *number > newest && *number - newest < NUMBER_LEAP_MAX;
        self.installed.values().copied().filter(is_believed).max()
    }

    fn make(&mut self, index: u64) -> Result<u32, CryptoError> {
        let newest = self.keys.first().map_or(0, GroupKey::number);
        let by_index = u32::try_from(index).unwrap_or(INDEX_MAX).min(INDEX_MAX);
        let above = [newest, self.known_elsewhere().unwrap_or(0)].map(|number| number.saturating_add(1));
        let number = above.into_iter().fold(by_index, u32::max);
        self.keys.insert(0, GroupKey::generate(number)?);
        self.keys.truncate(KEYS_MAX);
        // Of three, the one that was sealed with may be gone: the one before the newest is what most have.
        self.seal = self.keys.last().map_or(number, GroupKey::number);
        Ok(number)
    }

    fn activate(&mut self, now: BootInstant, view: &View) -> Option<u32> {
        let newest = self.keys.first()?.number();
        let has_it = |member: &Uid| self.installed.get(member).is_some_and(|number| *number >= newest);
        let is_time = now.since(self.made) >= SEAL_AFTER || view.online.iter().all(has_it);
        if self.seal == newest || !is_time {
            return None;
        }
        self.seal = newest;
        if std::mem::take(&mut self.retires) {
            self.keys.truncate(1);
        }
        Some(newest)
    }

    /// At the leader: when [`Self::step`] has something to do whatever else happens.
    pub(crate) fn deadline(&self) -> BootInstant {
        let newest = self.keys.first().map(GroupKey::number);
        self.made + if newest.is_some_and(|newest| newest != self.seal) { SEAL_AFTER } else { LIFETIME }
    }
}

fn read(key: &SyncKey) -> Option<GroupKey> {
    let bytes = zeroize::Zeroizing::new(from_hex(&key.secret)?);
    let mut secret = <[u8; 32]>::try_from(bytes.as_slice()).ok()?;
    Some(GroupKey::new(key.number, &mut secret))
}

#[cfg(test)]
mod tests;
