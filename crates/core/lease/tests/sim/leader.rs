//! A controller that leads, or believes so, and the log that the true leader writes.

use std::collections::BTreeMap;

use acp_base::{BootInstant, Uid};
use acp_core_lease::{Fact, Renewal, Sessions, Timing};
use acp_wire_api::hub::{RenewSessionReply, RenewSessionRequest};
use acp_wire_model::entry::LeaseAct;

use crate::{clock::Clock, world::Mistake};

/// The leases as the log has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) facts: BTreeMap<Uid, Fact>,
}

impl Log {
    pub(crate) fn fact(&self, system: Uid) -> Option<Fact> {
        self.facts.get(&system).copied()
    }

    /// As apply decides.
    pub(crate) fn apply(&mut self, system: Uid, act: &LeaseAct) {
        let fact = self.facts.entry(system).or_insert(Fact { holder: None, term: 0 });
        match *act {
            LeaseAct::Grant { node } if fact.holder.is_none_or(|holder| holder == node) => {
                *fact = Fact { holder: Some(node), term: fact.term + 1 };
            }
            LeaseAct::Grant { .. } => {}
            LeaseAct::Release { node, term } | LeaseAct::Revoke { node, term } => {
                if *fact == (Fact { holder: Some(node), term }) {
                    fact.holder = None;
                }
            }
        }
    }
}

/// A controller with the table of its leadership.
#[derive(Debug)]
pub(crate) struct Leader {
    clock: Clock,
    /// The leadership's number.
    pub(crate) number: u64,
    sessions: Sessions,
    /// When it was last certain to lead.
    confirmed: BootInstant,
    /// What it has applied; once deposed, nothing more.
    pub(crate) view: Log,
    mistake: Mistake,
}

impl Leader {
    pub(crate) fn elected(number: u64, clock: Clock, time_ms: u64, view: Log, mistake: Mistake) -> Self {
        let now = clock.at(time_ms);
        let ttl = if mistake == Mistake::GrantsAfterThreeSeconds { 3 } else { 8 };
        let timing = Timing::of_ttl(std::time::Duration::from_secs(ttl)).expect("within the bounds");
        let began = if mistake == Mistake::NewLeaderExtendsNothing { clock.at(0) } else { now };
        Self { clock, number, sessions: Sessions::new_leader(began, timing), confirmed: now, view, mistake }
    }

    /// A majority has answered a round that began now.
    pub(crate) fn confirm(&mut self, time_ms: u64) {
        self.confirmed = self.clock.at(time_ms);
    }

    pub(crate) fn take(&mut self, node: Uid, request: &RenewSessionRequest, time_ms: u64) -> Option<Renewal> {
        let now = self.clock.at(time_ms);
        let confirmed = if self.mistake == Mistake::AnswersUnconfirmed { now } else { self.confirmed };
        let view = &self.view;
        self.sessions.renew(node, request, now, confirmed, |system| view.fact(system)).ok()
    }

    pub(crate) fn answer(&self, renewal: &Renewal) -> RenewSessionReply {
        let mut reply = renewal.reply(|system| self.view.fact(system), |node| node.to_string());
        // Whatever the leader does, nodes are told the numbers of the design.
        (reply.ttl_ms, reply.pause_ms, reply.kill_ms) = (8_000, 4_000, 5_500);
        reply
    }

    pub(crate) fn expired(&mut self, time_ms: u64) -> Vec<(Uid, LeaseAct)> {
        self.sessions.expired(self.clock.at(time_ms), self.view.facts.clone())
    }
}
