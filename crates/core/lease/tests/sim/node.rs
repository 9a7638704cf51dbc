//! A node: its hypervisor with the claims, and a dead-man timer for each guest.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::{BootInstant, Uid};
use acp_core_lease::{Claims, DeadMan, Deadlines, Due, News};
use acp_wire_api::hub::{RenewSessionReply, RenewSessionRequest};

use crate::clock::Clock;

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) uid: Uid,
    clock: Clock,
    claims: Claims,
    incarnation: u64,
    /// The request whose reply counts.
    request: u64,
    intended: BTreeSet<Uid>,
    guests: BTreeMap<Uid, DeadMan>,
    /// Until when the whole node stands still.
    pub(crate) suspended_until_ms: u64,
    /// Until when its hypervisor does.
    pub(crate) frozen_until_ms: u64,
    counts_from_reply: bool,
    pub(crate) starts: u64,
    pub(crate) kills: u64,
}

impl Node {
    pub(crate) fn new(uid: Uid, clock: Clock, counts_from_reply: bool) -> Self {
        Self {
            uid,
            clock,
            claims: Claims::default(),
            incarnation: 1,
            request: 0,
            intended: BTreeSet::new(),
            guests: BTreeMap::new(),
            suspended_until_ms: 0,
            frozen_until_ms: 0,
            counts_from_reply,
            starts: 0,
            kills: 0,
        }
    }

    /// Whether its hypervisor gets to do anything.
    pub(crate) const fn is_awake(&self, time_ms: u64) -> bool {
        time_ms >= self.suspended_until_ms && time_ms >= self.frozen_until_ms
    }

    /// The systems whose processors run.
    pub(crate) fn running(&self, time_ms: u64) -> impl Iterator<Item = Uid> {
        let (now, is_up) = (self.clock.at(time_ms), time_ms >= self.suspended_until_ms);
        let runs = move |timer: &DeadMan| is_up && { *timer }.due(now) == Due::Run;
        self.guests.iter().filter(move |(_system, timer)| runs(timer)).map(|(system, _timer)| *system)
    }

    /// The timers, which only a suspended host holds up.
    pub(crate) fn fire(&mut self, time_ms: u64) {
        let now = self.clock.at(time_ms);
        if time_ms >= self.suspended_until_ms {
            let before = self.guests.len();
            self.guests.retain(|_system, timer| timer.due(now) != Due::Kill);
            self.kills += (before - self.guests.len()) as u64;
        }
    }

    pub(crate) fn start(&mut self, system: Uid) {
        self.intended.insert(system);
        assert!(self.claims.want(system), "there is room");
    }

    pub(crate) fn stop(&mut self, system: Uid) {
        self.intended.remove(&system);
        self.guests.remove(&system);
        self.claims.release(system);
    }

    /// Another life of the hypervisor: it wants what runs, and what shall.
    pub(crate) fn restart(&mut self) {
        self.claims = Claims::default();
        self.incarnation += 1;
        self.request += 1;
        for system in self.intended.clone() {
            assert!(self.claims.want(system), "there is room");
        }
    }

    pub(crate) fn renew(&mut self, time_ms: u64) -> (u64, RenewSessionRequest) {
        let now = self.clock.at(time_ms);
        for news in self.claims.due(now) {
            if let News::Lost { system, .. } = news {
                self.guests.remove(&system);
            }
        }
        self.request += 1;
        (self.request, self.claims.request(self.incarnation, now))
    }

    pub(crate) fn hear(&mut self, request: u64, reply: &RenewSessionReply, time_ms: u64) {
        let now = self.clock.at(time_ms);
        if request != self.request {
            return;
        }
        if self.counts_from_reply {
            // As if the request had been sent when its reply came.
            self.claims.request(self.incarnation, now);
        }
        for news in self.claims.answered(reply, now).expect("the numbers of the design") {
            match news {
                News::Extended { system, deadlines } | News::Refused { system, deadlines: Some(deadlines), .. } => {
                    self.extend(system, deadlines)
                }
                News::Refused { .. } | News::Lost { .. } => {}
            }
        }
        self.begin_guests(now);
    }

    fn extend(&mut self, system: Uid, deadlines: Deadlines) {
        if let Some(timer) = self.guests.get_mut(&system) {
            timer.extend(deadlines).expect("terms only grow");
        }
    }

    fn begin_guests(&mut self, now: BootInstant) {
        for system in &self.intended {
            if let Some(deadlines) = self.claims.deadlines(*system, now).filter(|_| !self.guests.contains_key(system)) {
                self.guests.insert(*system, DeadMan::resumed(deadlines));
                self.starts += 1;
            }
        }
    }
}
