//! What is remembered of each sender that was heard: its newest life, which counters of it were seen, its subkeys.
//!
//! **Invariant**: only an authentic datagram changes anything here, and the life of a sender never goes back; so whoever has
//! no key can neither make a life nor push one out, and what was recorded of an earlier life opens no more.

use std::collections::BTreeMap;

use acp_base::{BootInstant, Uid};
use aws_lc_rs::aead::LessSafeKey;

use crate::{KeyRing, Refusal, header::Header, key::Life, limits::SENDERS_MAX, path::Path, window::Window};

/// One sender.
#[derive(Debug)]
pub(crate) struct Sender {
    life: Life,
    /// One for each way, because their queues are read apart: a full one of the group would else be late beside an empty one.
    multicast: Window,
    unicast: Window,
    /// Its subkeys under the keys of the ring, of which there are two at most.
    subkeys: Vec<(u32, LessSafeKey)>,
    heard_at: BootInstant,
}

impl Sender {
    const fn window(&mut self, path: Path) -> &mut Window {
        match path {
            Path::Multicast => &mut self.multicast,
            Path::Unicast => &mut self.unicast,
        }
    }

    /// The subkey under this group key, if it was used before.
    pub(crate) fn subkey(&self, number: u32) -> Option<&LessSafeKey> {
        self.subkeys.iter().find(|(known, _)| *known == number).map(|(_, subkey)| subkey)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Senders(BTreeMap<Uid, Sender>);

impl Senders {
    /// What is known of the life that a header names, unless what it says was seen or is over.
    pub(crate) fn check(&mut self, header: &Header) -> Result<Option<&Sender>, Refusal> {
        match self.0.get_mut(&header.sender) {
            Some(sender) if header.life < sender.life => Err(Refusal::Superseded),
            Some(sender) if header.life == sender.life => {
                sender.window(header.path).check(header.counter)?;
                Ok(Some(sender))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Remembers an authentic datagram, with its subkey if that is new.
    pub(crate) fn remember(&mut self, now: BootInstant, header: &Header, subkey: Option<LessSafeKey>) {
        if !self.0.contains_key(&header.sender) {
            self.make_room();
        }
        let begin = || Sender {
            life: header.life,
            multicast: Window::default(),
            unicast: Window::default(),
            subkeys: Vec::new(),
            heard_at: now,
        };
        let sender = self.0.entry(header.sender).or_insert_with(begin);
        if sender.life < header.life {
            *sender = begin();
        }
        sender.window(header.path).mark(header.counter);
        sender.subkeys.extend(subkey.map(|subkey| (header.key, subkey)));
        sender.heard_at = now;
    }

    /// Forgets subkeys under keys that are valid no more, and senders of whom nothing else is known: their lives could not be
    /// replayed, and one that somebody else has invented with a stolen key ends here.
    pub(crate) fn rekey(&mut self, ring: &KeyRing) {
        self.0.retain(|_, sender| {
            sender.subkeys.retain(|(number, _)| ring.holds(*number));
            !sender.subkeys.is_empty()
        });
    }

    pub(crate) fn forget(&mut self, sender: Uid) {
        self.0.remove(&sender);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn make_room(&mut self) {
        if self.0.len() < SENDERS_MAX {
            return;
        }
        let silent = self.0.iter().min_by_key(|(_, sender)| sender.heard_at).map(|(uid, _)| *uid);
        if let Some(silent) = silent {
            self.0.remove(&silent);
        }
    }
}
