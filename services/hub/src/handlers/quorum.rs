//! The voters: who they are, who leads, how many there shall be.

use std::{sync::Arc, time::Duration};

use acp_base::{Code, Failure, Uid, sentence};
use acp_core_membership::Command;
use acp_io_daemon::Call;
use acp_io_raft::{Status, TransferError};
use acp_wire_api::hub::{self as api, QuorumStatus, VoterStatus};
use tokio::time::timeout;

use super::App;
use crate::{ask::Ask, error::rejected, orders::not_leader, peers::AskError, seat::no_log};

/// How long a hub that has had the leadership handed over waits to hear of the new leader, whose word comes several times a second.
const HEARD_MAX: Duration = Duration::from_secs(2);

pub(super) async fn get(app: Arc<App>, _call: Call<api::GetQuorum>) -> Result<QuorumStatus, Failure> {
    Ok(app.quorum())
}

pub(super) async fn transfer(app: Arc<App>, call: Call<api::Transfer>) -> Result<QuorumStatus, Failure> {
    let named = |name| app.snapshot().state.member_named(name).map_err(|rejection| rejected(&rejection));
    let to = call.request.to.as_ref().map(named).transpose()?;
    let deadline = call.context.deadline;
    let before = app.seat.leader(deadline).await?.elsewhere;
    match before {
        None => app.transfer_here(to).await?,
        Some(leader) if Some(leader) == to => {}
        Some(leader) => match app.seat.peers().ask(leader, &Ask::Transfer { to }, deadline).await {
            Ok(_done) => {}
            Err(AskError::Answered(failure)) => return Err(failure),
            Err(AskError::NotSent) => return Err(Failure::unavailable("the leader's hub is not reached")),
            Err(AskError::Lost(reason)) => {
                let text = format!("the leader did not confirm it: {reason}");
                return Err(Failure::unavailable(text).changed(acp_base::Change::Unknown));
            }
        },
    }
    tracing::info!(actor = call.caller.actor(), to = ?to, "leadership handed over");
    app.hear_of_leader(to, before.or_else(|| app.replica.here())).await;
    Ok(app.quorum())
}

pub(super) async fn set_voters(app: Arc<App>, call: Call<api::SetVoters>) -> Result<QuorumStatus, Failure> {
    let command = Command::SetVoters { wanted: call.request.voters };
    app.command(command, &call.caller, &call.context).await.map(|_snapshot| app.quorum())
}

impl App {
    /// Gives way, if this hub leads: to a voter, or to the one that is least behind.
    pub(crate) async fn transfer_here(&self, to: Option<Uid>) -> Result<(), Failure> {
        let raft = self.seat.raft().ok_or_else(no_log)?;
        let here = self.replica.here().ok_or_else(no_log)?;
        if to == Some(here) {
            return Ok(());
        }
        let nearest = || {
            let status = self.seat.status().borrow().clone();
            let matched = |uid: &Uid| status.peers.get(uid).map_or(0, |peer| peer.matched);
            status.voters.iter().copied().filter(|uid| *uid != here).max_by_key(matched)
        };
        let alone = || Failure::precondition("there is no other voter to lead");
        let to = to.or_else(nearest).ok_or_else(alone)?;
        raft.transfer(to).await.map_err(|error| match &error {
            TransferError::NotLeader { .. } => not_leader(),
            TransferError::NotVoter(_) => Failure::precondition(sentence(&error)),
            _ => Failure::new(Code::Unavailable, sentence(&error)),
        })
    }

    /// Waits until this hub has heard of the one that leads now, which is another one than before. If that takes too long
    /// what was heard last is said; it was handed over all the same.
    async fn hear_of_leader(&self, to: Option<Uid>, before: Option<Uid>) {
        let mut status = self.seat.status();
        let is_new = |status: &Status| match (status.leader, to) {
            (Some(leader), Some(to)) => leader == to,
            (leader, None) => leader.is_some() && leader != before,
            (None, Some(_)) => false,
        };
        if timeout(HEARD_MAX, status.wait_for(is_new)).await.is_err() {
            tracing::warn!("nothing is heard of the new leader yet");
        }
    }

    pub(super) fn quorum(&self) -> QuorumStatus {
        let status = self.seat.status().borrow().clone();
        let at = *self.replica.position().borrow();
        let mut voters: Vec<_> =
            status.voters.iter().chain(&status.learners).map(|uid| self.voter(*uid, &status)).collect();
        voters.sort_by(|a, b| a.name.cmp(&b.name));
        QuorumStatus {
            node: self.node.clone(),
            epoch: at.epoch_text(),
            term: status.term,
            leader: status.leader.and_then(|leader| self.name_of(leader)),
            degraded: self.degraded.reason(),
            applied: at.index,
            wanted: self.snapshot().state.voters_wanted(),
            voters,
        }
    }

    fn voter(&self, uid: Uid, status: &Status) -> VoterStatus {
        let role = match (status.leader == Some(uid), status.voters.contains(&uid)) {
            (true, _) => "leader",
            (false, true) => "follower",
            (false, false) => "learner",
        };
        let peer = status.peers.get(&uid);
        let heard = peer.and_then(|peer| peer.heard).map(|heard| heard.elapsed().as_millis());
        VoterStatus {
            uid,
            name: self.name_of(uid).map_or_else(|| uid.to_string(), |name| name.to_string()),
            role: role.to_owned(),
            behind: peer.map(|peer| status.last_index.saturating_sub(peer.matched)),
            heard_ms: heard.map(|heard| u64::try_from(heard).unwrap_or(u64::MAX)),
        }
    }
}
