//! Changes of verdicts, brought into the log by the leader that has come to them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_base::{BootInstant, Uid};
use acp_core_cdb::State;
use acp_io_daemon::boot_now;
use acp_wire_api::hub::{Judgement, Standing};
use acp_wire_model::entry::{Action, NodeStanding};

use super::App;
use crate::{
    announce::Due,
    orders::{Draft, ENTRIES_MAX},
};

/// The feature level that has entries for verdicts.
const LEVEL: u32 = 2;

/// How often it is looked whether the log has come to it.
const LEVEL_PAUSE: Duration = Duration::from_secs(5);

impl App {
    /// Has ordered what the log does not say yet; answers when to look again.
    pub(super) fn announce(self: &Arc<Self>) -> Option<BootInstant> {
        let now = boot_now();
        if !self.verdicts.is_telling(now) {
            return None;
        }
        let members = self.snapshot();
        let open = {
            let mut announcements = self.verdicts.announcements();
            announcements.begin(members.state.members().keys().copied());
            announcements.open()
        };
        if open.is_empty() {
            return None;
        }
        // Below their level the log has no entries for verdicts: they are told once it has.
        if self.replica.read(State::feature_level) < LEVEL {
            return Some(now + LEVEL_PAUSE);
        }
        let judged = |node| Some((node, self.verdicts.of(node, |other| self.called(other))?));
        let judged: BTreeMap<Uid, Judgement> = open.into_iter().filter_map(judged).collect();
        let known = |node| {
            let standing = logged_as(judged.get(&node)?.standing)?;
            Some((standing, self.replica.read(|state| state.verdict(node))))
        };
        let (due, deadline) = {
            let mut announcements = self.verdicts.announcements();
            (announcements.due(now, ENTRIES_MAX, known), announcements.deadline())
        };
        if !due.is_empty() {
            let drafts = due.iter().filter_map(|due| Some(draft(due, judged.get(&due.node)?))).collect();
            let app = Arc::clone(self);
            self.tasks.spawn("announce", async move { app.order_verdicts(due, drafts).await });
        }
        deadline
    }

    async fn order_verdicts(&self, due: Vec<Due>, drafts: Vec<Draft>) {
        let ordered = self.orders.order_here(drafts).await;
        if let Err(error) = &ordered {
            tracing::debug!(?error, "verdicts are not in the log yet");
        }
        // What was refused is in the log already, or of a node that has gone.
        self.verdicts.ordered(&due, ordered.is_ok());
    }
}

fn draft(due: &Due, judged: &Judgement) -> Draft {
    let Due { node, standing, unsaid } = *due;
    Draft::new("hub", "", Action::Verdict { node, standing, evidence: judged.evidence.clone(), unsaid })
}

/// What the log says for a verdict; none for one that says nothing.
pub(super) const fn logged_as(standing: Standing) -> Option<NodeStanding> {
    match standing {
        Standing::Online => Some(NodeStanding::Online),
        Standing::Isolated => Some(NodeStanding::Isolated),
        Standing::Unmanaged => Some(NodeStanding::Unmanaged),
        Standing::Down => Some(NodeStanding::Down),
        Standing::Unknown => None,
    }
}
