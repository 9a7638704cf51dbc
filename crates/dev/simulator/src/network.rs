//! Who reaches whom, and messages on their way.

use std::collections::{BTreeMap, BTreeSet};

use acp_wire_api::hub::{RenewSessionReply, RenewSessionRequest};

use crate::dice::Dice;

/// What is said about leases.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A node renews its session with whom it takes for the leader.
    Renew { request: RenewSessionRequest, number: u64 },
    /// What that one answers.
    Renewed { reply: RenewSessionReply, number: u64 },
}

/// A message that arrives.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) message: Message,
}

/// The longest that a message is on its way, in milliseconds.
const DELAY_MAX_MS: u64 = 900;

/// The network.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Directions in which nothing passes.
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    /// Of a hundred messages, how many are lost.
    pub(crate) loss: u64,
    /// By when they arrive; two of the same instant in the order in which they were sent.
    under_way: BTreeMap<(u64, u64), Arrival>,
    sent: u64,
}

impl Network {
    /// Whether one hears the other, and is heard.
    pub(crate) fn is_joined(&self, one: usize, other: usize) -> bool {
        !self.cuts.contains(&(one, other)) && !self.cuts.contains(&(other, one))
    }

    pub(crate) fn send(&mut self, now: u64, dice: &mut Dice, arrival: Arrival) {
        if dice.roll(100) < self.loss || self.cuts.contains(&(arrival.from, arrival.to)) {
            return;
        }
        self.sent += 1;
        let at = now + dice.roll(DELAY_MAX_MS);
        if dice.once_in(20) {
            self.under_way.insert((at + dice.roll(DELAY_MAX_MS), self.sent), arrival.clone());
            self.sent += 1;
        }
        self.under_way.insert((at, self.sent), arrival);
    }

    /// What arrives by now.
    pub(crate) fn arrived(&mut self, now: u64) -> Vec<Arrival> {
        let later = self.under_way.split_off(&(now + 1, 0));
        std::mem::replace(&mut self.under_way, later).into_values().collect()
    }
}
