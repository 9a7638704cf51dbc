//! The group keys that are valid at a time: the newest and the one before.
//!
//! A rotation has three steps, so that nobody seals with what others do not have: every node installs the new key and opens
//! with it from then on; when all that are there have it, they activate it and seal with it; the key before goes with the
//! next rotation, or earlier when somebody who knows it must not be heard any more.

use crate::{Refusal, key::GroupKey};

/// One or two group keys, the newest and the one before, and which of them is sealed with.
#[derive(Clone, Debug)]
pub struct KeyRing {
    newest: GroupKey,
    previous: Option<GroupKey>,
    /// Whether the newest is sealed with; always when there is no other.
    is_active: bool,
}

/// Why a key is not taken; the ring is unchanged. Whoever delivers keys is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// It is older than what the ring holds.
    #[error("key {given} is older than key {newest}, the newest one here")]
    Older {
        /// The number of the key that was given.
        given: u32,
        /// The newest number in the ring.
        newest: u32,
    },
    /// The ring has another secret under this number.
    #[error("there are two keys with the number {0}")]
    Conflicting(u32),
}

impl KeyRing {
    /// A ring that seals with its only key.
    pub const fn new(key: GroupKey) -> Self {
        Self { newest: key, previous: None, is_active: true }
    }

    /// Takes a key for opening; answers whether it is new. Sealing goes on with the key that it is done with until
    /// [`Self::activate`], or with the newest one that was installed before if that is gone.
    ///
    /// # Errors
    /// When it cannot be the newest one.
    pub fn install(&mut self, key: GroupKey) -> Result<bool, RingError> {
        let known = [Some(&self.newest), self.previous.as_ref()].into_iter().flatten();
        if let Some(known) = known.into_iter().find(|known| known.number() == key.number()) {
            return if known.has_secret_of(&key) { Ok(false) } else { Err(RingError::Conflicting(key.number())) };
        }
        if key.number() < self.newest.number() {
            return Err(RingError::Older { given: key.number(), newest: self.newest.number() });
        }
        self.previous = Some(std::mem::replace(&mut self.newest, key));
        self.is_active = false;
        Ok(true)
    }

    /// Seals with the newest key from now on.
    pub const fn activate(&mut self) {
        self.is_active = true;
    }

    /// Forgets the key before the newest and seals with that: for when somebody who knows the old one was removed.
    pub fn retire_previous(&mut self) {
        self.previous = None;
        self.is_active = true;
    }

    /// The key that is sealed with.
    pub fn sealing(&self) -> &GroupKey {
        match &self.previous {
            Some(previous) if !self.is_active => previous,
            _ => &self.newest,
        }
    }

    /// The newest key's number.
    pub fn newest(&self) -> u32 {
        self.newest.number()
    }

    /// The key of this number, for opening.
    pub(crate) fn find(&self, number: u32) -> Result<&GroupKey, Refusal> {
        match &self.previous {
            _ if number == self.newest.number() => Ok(&self.newest),
            Some(previous) if number == previous.number() => Ok(previous),
            _ if number > self.newest.number() => Err(Refusal::NewerKey),
            _ => Err(Refusal::OlderKey),
        }
    }

    /// Whether datagrams under this key open.
    pub(crate) fn holds(&self, number: u32) -> bool {
        self.find(number).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> GroupKey {
        GroupKey::new(number, &mut [u8::try_from(number).expect("small"); 32])
    }

    fn ring(numbers: &[u32]) -> KeyRing {
        let mut ring = KeyRing::new(key(numbers[0]));
        for number in &numbers[1..] {
            assert_eq!(ring.install(key(*number)), Ok(true));
        }
        ring
    }

    #[test]
    fn a_key_is_opened_with_at_once_and_sealed_with_when_it_is_activated() {
        let mut ring = ring(&[1, 2]);
        assert_eq!((ring.sealing().number(), ring.newest()), (1, 2));
        assert!(ring.holds(1) && ring.holds(2));
        ring.activate();
        assert_eq!(ring.sealing().number(), 2);
        assert!(ring.holds(1));
        ring.retire_previous();
        assert!(!ring.holds(1) && ring.holds(2));
    }

    #[test]
    fn two_keys_are_held_and_the_rest_is_told_older_from_newer() {
        let ring = ring(&[1, 2, 3]);
        assert_eq!(ring.find(1).expect_err("gone"), Refusal::OlderKey);
        assert_eq!(ring.find(4).expect_err("not here yet"), Refusal::NewerKey);
        assert_eq!(ring.sealing().number(), 2, "what was sealed with is gone, and the newest is not active");
    }

    #[test]
    fn what_is_known_older_or_another_secret_changes_nothing() {
        let mut ring = ring(&[4, 6]);
        assert_eq!(ring.install(key(6)), Ok(false));
        assert_eq!(ring.install(key(4)), Ok(false));
        assert_eq!(ring.install(key(5)), Err(RingError::Older { given: 5, newest: 6 }));
        assert_eq!(ring.install(GroupKey::new(6, &mut [9; 32])), Err(RingError::Conflicting(6)));
        assert_eq!(ring.install(GroupKey::new(4, &mut [9; 32])), Err(RingError::Conflicting(4)));
        assert_eq!((ring.sealing().number(), ring.newest()), (4, 6));
    }

    #[test]
    fn retiring_the_key_that_is_sealed_with_activates_the_newest() {
        let mut ring = ring(&[1, 2]);
        ring.retire_previous();
        assert_eq!(ring.sealing().number(), 2);
    }
}
