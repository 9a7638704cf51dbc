//! A node: its ring, whether it runs, and its connection to the hub.

use std::collections::{BTreeSet, VecDeque};

use acp_base::{BootInstant, Uid};
use acp_core_swim::{Output, Ring, State, ring::RefusedError};

use crate::world::Us;

/// Datagrams that the kernel keeps for a process that does not read.
const INBOX_MAX: usize = 256;

/// What a node tells the hub.
#[derive(Debug)]
pub(crate) enum Word {
    KeepAlive,
    Holds { node: Uid, state: State },
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) uid: Uid,
    pub(crate) ring: Ring,
    pub(crate) members: BTreeSet<Uid>,
    pub(crate) crashed: bool,
    pub(crate) frozen_until: Us,
    /// The wake-up that counts.
    pub(crate) wake_at: Us,
    pub(crate) inbox: VecDeque<(Uid, Vec<u8>)>,
    /// What waits for the hub, and how often the oldest was tried in vain.
    pub(crate) outbox: Vec<Word>,
    pub(crate) tries: Option<u32>,
    /// In this second, so many datagrams.
    pub(crate) rate: (u64, u64),
}

impl Node {
    pub(crate) fn new(uid: Uid, members: BTreeSet<Uid>, incarnation: u64, seed: u64, now: Us) -> Self {
        Self {
            uid,
            ring: Ring::new(instant(now), uid, incarnation, seed),
            members,
            crashed: false,
            frozen_until: 0,
            wake_at: Us::MAX,
            inbox: VecDeque::new(),
            outbox: Vec::new(),
            tries: None,
            rate: (0, 0),
        }
    }

    pub(crate) fn start(&mut self, now: Us, out: &mut Vec<Output>) {
        self.ring.set_members(instant(now), &self.members, out).expect("a set with this node");
    }

    pub(crate) const fn runs(&self, now: Us) -> bool {
        !self.crashed && now >= self.frozen_until
    }

    pub(crate) fn receive(&mut self, now: Us, from: Uid, bytes: Vec<u8>, out: &mut Vec<Output>) {
        if self.runs(now) {
            let taken = self.ring.receive(instant(now), from, &bytes, out);
            assert!(matches!(taken, Ok(()) | Err(RefusedError::Stranger)), "{from}: {taken:?}");
        } else if !self.crashed && self.inbox.len() < INBOX_MAX {
            self.inbox.push_back((from, bytes));
        }
    }

    /// Timers first: a driver that is woken late need not know what waits in its socket.
    pub(crate) fn thaw(&mut self, now: Us, out: &mut Vec<Output>) {
        self.ring.wake(instant(now), out);
        for (from, bytes) in std::mem::take(&mut self.inbox) {
            self.receive(now, from, bytes, out);
        }
    }
}

pub(crate) fn instant(now: Us) -> BootInstant {
    BootInstant::from_nanos(now * 1_000)
}
