//! Leases of the systems that run under one. Pinned systems never come here: they run without asking anybody.
//!
//! **Invariant**: one renewal is on its way at a time, so that no reply is taken for the answer to another request.

use std::time::Duration;

use acp_base::{BootInstant, Failure, Uid};
use acp_core_lease::{Claims, Deadlines, News, Timing};
use acp_io_daemon::boot_now;
use acp_wire_api::hub::RenewSessionReply;
use tokio::sync::watch;

use super::{Message, Owner};
use crate::{
    effects::{QEMU, VMM, unit_name},
    entry::{Entry, Standing},
    lease,
};

/// The pause after a renewal that failed: a leader changes within a second or two, and two seconds later it is too late.
const FAILED_PAUSE: Duration = Duration::from_millis(300);

/// The node's leases and the renewal on its way.
#[derive(Debug, Default)]
pub(super) struct Leases {
    claims: Claims,
    timing: Timing,
    /// When the next renewal is due; absent: at once.
    next: Option<BootInstant>,
    /// When the last one was sent.
    sent: BootInstant,
    is_renewing: bool,
    /// Why the last renewal failed; empty: it did not.
    trouble: String,
}

impl Leases {
    /// How long until something is due.
    pub(super) fn until_next(&self, now: BootInstant) -> Option<Duration> {
        let is_idle = self.is_renewing || self.claims.is_empty();
        let next = self.next.filter(|_| !is_idle).map(|at| at.since(now));
        next.into_iter().chain(self.claims.next_deadline(now)).min()
    }

    /// What this node does without; empty: nothing.
    pub(super) fn trouble(&self) -> &str {
        if self.claims.is_empty() { "" } else { &self.trouble }
    }
}

impl Owner {
    /// Claims the lease of a system that needs one, and gives it back when it does not any more.
    pub(super) fn claim(&mut self, uid: Uid) {
        let Some(entry) = self.entries.get_mut(&uid).filter(|entry| entry.leased) else { return };
        if !entry.system.needs_lease() {
            // Whoever still waits for it waits in vain.
            let standing = Standing { deadlines: None, ..entry.lease.borrow().clone() };
            entry.lease = watch::Sender::new(standing);
            return self.leases.claims.release(uid);
        }
        if self.leases.claims.has(uid) {
            return;
        }
        if !self.leases.claims.want(uid) {
            tracing::error!(system = %entry.name, "there are too many leases on this node");
        }
        self.leases.next = Some(boot_now());
    }

    /// A start begins: what its lease is like now, if it has one.
    pub(super) fn begin_leasing(&mut self, uid: Uid) {
        let deadlines = self.leases.claims.deadlines(uid, boot_now());
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let was_leased = std::mem::replace(&mut entry.leased, entry.spec.floating);
        entry.lease = watch::Sender::new(Standing { deadlines, reason: String::new() });
        if let Some(job) = entry.job().filter(|_| entry.leased) {
            job.step("waiting for its lease", None);
        }
        if entry.leased != was_leased {
            // A successor has to know what it needs for what runs then.
            self.save_now(uid);
        }
    }

    /// Renews if it is due, and ends what was not renewed.
    pub(super) fn keep_leases(&mut self) {
        let now = boot_now();
        self.heed_due();
        if self.leases.is_renewing || self.leases.claims.is_empty() || self.leases.next.is_some_and(|next| next > now) {
            return;
        }
        self.leases.is_renewing = true;
        let interval = self.leases.timing.renewal();
        (self.leases.sent, self.leases.next) = (now, Some(now + interval));
        let request = self.leases.claims.request(self.context.incarnation, now);
        let (client, inbox) = (self.client.clone(), self.inbox.clone());
        self.spawn("lease renewal", async move {
            let result = lease::renew(&client, request, interval).await;
            // An owner that is gone needs no answer.
            drop(inbox.send(Message::Renewed(result.map(Box::new))).await);
        });
    }

    /// Ends what was not renewed in time. Before anything else is learnt of a guest, so that one that its lease has ended is not
    /// taken for one that ended by itself.
    pub(super) fn heed_due(&mut self) {
        for news in self.leases.claims.due(boot_now()) {
            self.heed(news);
        }
    }

    pub(super) fn renewed(&mut self, result: Result<Box<RenewSessionReply>, Failure>) {
        self.leases.is_renewing = false;
        let now = boot_now();
        let taken = result.and_then(|reply| {
            let news = self.leases.claims.answered(&reply, now);
            let news = news.map_err(|error| Failure::internal(error.to_string()))?;
            self.leases.timing = Timing::of_reply(&reply).unwrap_or_default();
            let next = self.leases.sent + self.leases.timing.renewal();
            self.leases.next = self.leases.next.map(|soon| soon.min(next));
            Ok(news)
        });
        match taken {
            Ok(news) => {
                self.leases.trouble.clear();
                news.into_iter().for_each(|news| self.heed(news));
            }
            Err(failure) => self.not_renewed(&failure, now),
        }
        self.say_health();
    }

    fn not_renewed(&mut self, failure: &Failure, now: BootInstant) {
        let trouble = format!("leases cannot be renewed: {failure}");
        if self.leases.trouble != trouble {
            tracing::warn!(%failure, "leases cannot be renewed");
            self.leases.trouble = trouble;
        }
        self.leases.next = self.leases.next.map(|next| next.min(now + FAILED_PAUSE));
        let claims = &self.leases.claims;
        let waits = |entry: &&Entry| entry.leased && claims.deadlines(entry.uid, now).is_none();
        let waiting: Vec<Uid> = self.entries.values().filter(waits).map(|entry| entry.uid).collect();
        for uid in waiting {
            self.stand(uid, None, self.leases.trouble.clone());
        }
    }

    fn heed(&mut self, news: News) {
        match news {
            News::Extended { system, deadlines } => {
                self.stand(system, Some(deadlines), String::new());
                self.tell(system, deadlines);
            }
            News::Refused { system, reason, deadlines } => {
                self.stand(system, None, reason);
                if let Some(deadlines) = deadlines {
                    self.tell(system, deadlines);
                }
            }
            News::Lost { system, term } => self.lost(system, term),
        }
    }

    /// Notes how it stands with a lease, for whoever waits for it and for whoever reads of the system.
    fn stand(&mut self, uid: Uid, deadlines: Option<Deadlines>, reason: String) {
        let Some(entry) = self.entries.get(&uid) else { return };
        let standing = Standing { deadlines, reason };
        let is_new = entry.lease.borrow().reason != standing.reason;
        entry.lease.send_replace(standing);
        if is_new {
            self.publish_system(uid);
        }
    }

    /// Tells the machine monitor, if there is one; one that begins anew hears it at the next renewal.
    fn tell(&self, uid: Uid, deadlines: Deadlines) {
        if !self.has_unit(VMM, uid) {
            return;
        }
        let client = self.client.clone();
        self.spawn("lease extension", async move {
            if let Err(failure) = lease::extend(&client, uid, deadlines).await {
                tracing::warn!(system = %uid, %failure, "a machine monitor was not told of its lease");
            }
        });
    }

    /// Its machine monitor has killed the guest, or is dead itself: then this does.
    fn lost(&mut self, uid: Uid, term: u64) {
        let reason = match self.leases.trouble() {
            "" => "its lease was lost: it was not renewed in time".to_owned(),
            trouble => format!("its lease was lost; {trouble}"),
        };
        tracing::error!(system = %uid, term, reason, "a lease was lost");
        self.stand(uid, None, reason);
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.system.lease_lost();
        }
        if !self.has_unit(QEMU, uid) {
            return;
        }
        let client = self.client.clone();
        self.spawn("lease end", async move {
            if let Err(failure) = lease::end(&client, uid).await {
                tracing::error!(system = %uid, %failure, "a QEMU without a lease cannot be ended");
            }
        });
    }

    fn has_unit(&self, template: &str, uid: Uid) -> bool {
        self.units.as_ref().is_some_and(|units| units.contains_key(&unit_name(template, uid)))
    }
}
