//! The verdicts, driven: at the leader they are told of everything as soon as it is known, ask nodes whether they live, and each
//! change is told.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_base::{BootInstant, Uid};
use acp_core_swim::{Effect, Facts, Verdict, timing::CONFIRMATION};
use acp_io_daemon::boot_now;
use acp_wire_api::{
    Empty,
    daemon::GetHealth,
    hub::{Judgement, ReportRingRequest},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{App, announce::logged_as};
use crate::{
    announce::{Announcements, Due},
    metrics,
    verdicts::{Seen, Table, evidence, standing},
};

/// How long nothing is looked at if nothing happens and nothing is due.
const PERIOD: Duration = Duration::from_secs(60);

/// The verdicts of this hub's leadership, while it leads.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    table: Mutex<Option<Table>>,
    /// Which of its changes are in the log.
    announcements: Mutex<Announcements>,
    /// Something was said that may have effects.
    news: Notify,
}

impl Judge {
    /// What the leader takes a node for; none elsewhere.
    pub(super) fn of(&self, node: Uid, called: impl Fn(Uid) -> String) -> Option<Judgement> {
        self.table().as_ref()?.judgement(boot_now(), node, called)
    }

    /// A node says what it holds of the others of its ring.
    pub(super) fn report(&self, by: Uid, report: &ReportRingRequest) {
        self.tell(|table, now| table.report(now, by, report));
    }

    fn tell(&self, what: impl FnOnce(&mut Table, BootInstant)) {
        if let Some(table) = &mut *self.table() {
            what(table, boot_now());
            self.news.notify_one();
        }
    }

    /// Whether this hub leads and has heard enough.
    pub(super) fn is_telling(&self, now: BootInstant) -> bool {
        self.table().as_ref().is_some_and(|table| !table.is_learning(now))
    }

    pub(super) fn announcements(&self) -> MutexGuard<'_, Announcements> {
        self.announcements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These changes are in the log, or are not.
    pub(super) fn ordered(&self, due: &[Due], is_done: bool) {
        self.announcements().ordered(boot_now(), due, is_done);
        self.news.notify_one();
    }

    fn table(&self) -> MutexGuard<'_, Option<Table>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the verdicts, as long as this hub leads, until the drain.
pub(crate) async fn judge(app: Arc<App>) {
    let (mut status, mut snapshots) = (app.seat.status(), app.replica.snapshots());
    let (mut presence, mut degraded) = (app.presence.news(), app.degraded.watch());
    // What nodes report concerns few of them: all are looked at only when something else has changed, or is due.
    let (mut term, mut is_due) = (None, true);
    loop {
        if is_due {
            term = {
                let status = status.borrow_and_update();
                status.is_leader().then_some(status.term)
            };
            snapshots.borrow_and_update();
            presence.borrow_and_update();
            degraded.borrow_and_update();
        }
        let (effects, pause) = app.judge(term, is_due);
        for effect in effects {
            app.carry_out(effect);
        }
        let pause = app.announce().map_or(pause, |at| pause.min(at.since(boot_now())));
        let is_other = |now: &acp_io_raft::Status| now.is_leader().then_some(now.term) != term;
        is_due = tokio::select! {
            () = app.drain.cancelled() => return,
            () = sleep(pause) => true,
            () = app.verdicts.news.notified() => false,
            Ok(_other) = status.wait_for(is_other) => true,
            Ok(()) = snapshots.changed() => true,
            Ok(()) = presence.changed(), if term.is_some() => true,
            Ok(()) = degraded.changed() => true,
        };
    }
}

impl App {
    /// Takes in how everything is, if that is due; answers what is to be done, and after how long it is due again.
    fn judge(&self, term: Option<u64>, is_due: bool) -> (Vec<Effect>, Duration) {
        let mut held = self.verdicts.table();
        let Some(term) = term else {
            *held = None;
            return (Vec::new(), PERIOD);
        };
        if held.as_ref().is_none_or(|table| table.term != term) {
            *held = Some(Table::new(boot_now(), term));
            *self.verdicts.announcements() = Announcements::default();
        }
        let Some(table) = held.as_mut() else { return (Vec::new(), PERIOD) };
        if is_due {
            let snapshot = self.snapshot();
            let members = snapshot.state.members().iter().filter(|(_, member)| !member.parked);
            let members = members.map(|(uid, member)| (*uid, member.domain().to_owned())).collect();
            let (sightings, lapses) = self.presence.sightings();
            let quorum = self.degraded.reason().is_empty();
            table.see(boot_now(), &Seen { members: &members, sightings: &sightings, lapses, quorum });
        }
        let now = boot_now();
        (table.take(), table.deadline(now).map_or(PERIOD, |due| due.since(now)))
    }

    fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Confirm(node) => {
                let app = Arc::clone(self);
                self.tasks.spawn("confirm", async move {
                    let answered = app.lives(node).await;
                    app.verdicts.tell(|table, now| table.confirmed(now, node, answered));
                });
            }
            Effect::Changed { node, from, to, evidence } => self.changed(node, from, to, &evidence),
        }
    }

    /// Whether the node's agent answers in time.
    async fn lives(&self, node: Uid) -> bool {
        let Some(name) = self.name_of(node) else { return false };
        let agent = self.founding.client.on(Some(&name)).service("agent").deadline(CONFIRMATION);
        match timeout(CONFIRMATION, agent.call::<GetHealth>(Empty {})).await {
            Ok(Ok(_health)) => true,
            Ok(Err(reason)) => {
                tracing::debug!(node = %name, %reason, "a node was asked whether it lives, in vain");
                false
            }
            Err(_late) => false,
        }
    }

    fn changed(&self, node: Uid, from: Option<Verdict>, to: Verdict, facts: &Facts) {
        if !self.verdicts.is_telling(boot_now()) {
            return;
        }
        let (was, is) = (from.map(standing), standing(to));
        metrics::judged(is.word());
        if let Some(standing) = logged_as(is) {
            let logged = self.replica.read(|state| state.verdict(node));
            self.verdicts.announcements().changed(node, standing, logged);
        }
        let name = self.called(node);
        let why = evidence(&to, &facts.sentence(|other| self.called(other)));
        tracing::info!(node = name, was = was.map(|was| was.word()), verdict = is.word(), why, "a verdict has changed");
    }

    /// A member by its name, if it has one.
    pub(super) fn called(&self, node: Uid) -> String {
        self.name_of(node).map_or_else(|| node.to_string(), |name| name.to_string())
    }
}
