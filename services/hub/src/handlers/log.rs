//! Entries into the log, and where it stands.

use std::sync::Arc;

use acp_base::{Code, Failure, Uid, sentence};
use acp_core_cdb::limits::ENTRY_BYTES_MAX;
use acp_io_daemon::{Call, Caller};
use acp_io_raft::ReadError;
use acp_wire_api::hub as api;
use acp_wire_model::entry::Action;
use tokio::time::Instant;

use super::App;
use crate::{
    ask::{Answer, Ask, proposed},
    orders::{BYTES_MAX, Draft, ENTRIES_MAX, not_leader},
    peers::AskError,
    seat::no_log,
};

/// Whose proposals they are.
enum Proposer {
    /// A controller's: it passes on what it has authorised.
    Controller { uid: Uid },
    /// Another member's: it speaks for what is its own.
    Member { uid: Uid, name: String },
}

pub(super) async fn propose(app: Arc<App>, call: Call<api::Propose>) -> Result<api::ProposeReply, Failure> {
    app.seat.has_begun()?;
    let proposer = app.proposer(&call.caller)?;
    let bytes: usize = call.request.entries.iter().map(|entry| entry.action.to_string().len()).sum();
    if call.request.entries.len() > ENTRIES_MAX || bytes > BYTES_MAX {
        return Err(Failure::invalid(format!("entries: at most {ENTRIES_MAX}, and {BYTES_MAX} bytes of them")));
    }
    let read: Vec<_> = call.request.entries.into_iter().map(|entry| app.draft(entry, &proposer)).collect();
    let drafts: Vec<Draft> = read.iter().filter_map(|read| read.as_ref().ok().cloned()).collect();
    let decisions =
        if drafts.is_empty() { Vec::new() } else { app.orders.order(drafts, call.context.deadline).await? };
    let mut decisions = decisions.into_iter();
    let outcomes = read.into_iter().map(|read| match read {
        Ok(_draft) => decisions.next().map(proposed).ok_or_else(|| Failure::internal("an entry was not answered")),
        Err(refused) => Ok(refused),
    });
    Ok(api::ProposeReply { outcomes: outcomes.collect::<Result<_, _>>()? })
}

pub(super) async fn read_index(app: Arc<App>, call: Call<api::ReadIndex>) -> Result<api::ReadIndexReply, Failure> {
    app.linear(call.context.deadline).await.map(|index| api::ReadIndexReply { index })
}

impl App {
    fn proposer(&self, caller: &Caller) -> Result<Proposer, Failure> {
        if caller.principal().is_none() {
            return Ok(Proposer::Controller { uid: self.replica.here().ok_or_else(no_log)? });
        }
        let snapshot = self.snapshot();
        let denied = || Failure::new(Code::PermissionDenied, format!("{} is no member", caller.actor()));
        let uid = caller.node().ok_or_else(denied)?;
        let member = snapshot.state.members().get(&uid).ok_or_else(denied)?;
        if member.controller {
            return Ok(Proposer::Controller { uid });
        }
        Ok(Proposer::Member { uid, name: member.name.to_string() })
    }

    /// An entry to be ordered, or why it is not.
    fn draft(&self, entry: api::Proposal, proposer: &Proposer) -> Result<Draft, api::Proposed> {
        let refused = |code: Code, text: String| api::Proposed {
            index: 0,
            code: Some(code.name().to_owned()),
            refused: Some(text),
        };
        let api::Proposal { actor, request, action } = entry;
        if action.to_string().len() > ENTRY_BYTES_MAX {
            return Err(refused(Code::InvalidArgument, format!("an entry has at most {ENTRY_BYTES_MAX} bytes")));
        }
        let action: Action = serde_json::from_value(action)
            .map_err(|error| refused(Code::InvalidArgument, format!("action: {error}")))?;
        if matches!(action, Action::Genesis { .. } | Action::Horizon { .. }) {
            return Err(refused(Code::PermissionDenied, "the control plane alone begins a log or an epoch".to_owned()));
        }
        let (uid, actor) = match proposer {
            Proposer::Controller { uid } => (*uid, actor),
            Proposer::Member { uid, name } => (*uid, said_by(actor, name)),
        };
        let allowed = self.replica.read(|state| state.may_propose(uid, &action));
        allowed.map_err(|refusal| refused(refusal.code, refusal.message))?;
        Ok(Draft::new(&actor, &request, action))
    }

    /// An index that holds everything acknowledged before this call.
    pub(crate) async fn linear(&self, deadline: Instant) -> Result<u64, Failure> {
        loop {
            let answered = match self.seat.leader(deadline).await?.elsewhere {
                None => self.linear_here(deadline).await,
                Some(to) => match self.seat.peers().ask(to, &Ask::ReadIndex, deadline).await {
                    Ok(Answer::Index(index)) => Ok(index),
                    Ok(_other) => Err(Failure::internal("the leader's hub answered something else")),
                    Err(AskError::NotSent | AskError::Lost(_)) => Err(not_leader()),
                    Err(AskError::Answered(failure)) => Err(failure),
                },
            };
            match answered {
                Err(failure) if failure.code == Code::Conflict => self.seat.pause(deadline).await?,
                answered => return answered,
            }
        }
    }

    /// The same, if this hub leads.
    pub(crate) async fn linear_here(&self, deadline: Instant) -> Result<u64, Failure> {
        let raft = self.seat.raft().ok_or_else(no_log)?;
        let applied = async {
            let index = raft.read_index().await?;
            raft.wait_applied(index, deadline.saturating_duration_since(Instant::now())).await
        };
        match applied.await {
            Ok(()) => Ok(self.replica.position().borrow().index),
            Err(ReadError::NotLeader { .. }) => Err(not_leader()),
            Err(error) => Err(Failure::unavailable(sentence(&error))),
        }
    }
}

/// What a member says of who asked is its word: the entry says whose.
fn said_by(actor: String, node: &str) -> String {
    if actor.rsplit_once('@').is_some_and(|(_, said)| said == node) { actor } else { format!("{actor}@{node}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_whose_word_its_actor_is() {
        assert_eq!(said_by("root".to_owned(), "n4"), "root@n4");
        assert_eq!(said_by("storage@n4".to_owned(), "n4"), "storage@n4");
        assert_eq!(said_by("root@n1".to_owned(), "n4"), "root@n1@n4");
    }
}
