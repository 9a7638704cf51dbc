//! Other voters' questions, answered.

use std::time::Duration;

use acp_base::Uid;
use openraft::{
    ServerState,
    error::{InstallSnapshotError, RaftError},
    raft::{AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest},
};

use crate::{
    elector::would_vote,
    frame::{Answer, Piece, Question, Request, decode, encode},
    links::Links,
    store::{Log, Store},
    types::{Core, LogId, Types, Voter},
};

/// The largest snapshot that is received: it is held in memory until it is whole.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// What a running node answers with.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) core: Core,
    pub(crate) log: Log,
    pub(crate) store: Store,
    pub(crate) links: std::sync::Arc<Links>,
    pub(crate) lease: Duration,
}

/// Answers a frame, also one that cannot be read.
pub(crate) async fn serve(desk: Option<Desk>, from: Uid, frame: &[u8]) -> Vec<u8> {
    let answer = match desk {
        Some(desk) => desk.answer(from, frame).await.unwrap_or_else(Answer::Refused),
        None => Answer::Refused("its log is not open".into()),
    };
    encode(&answer).unwrap_or_else(|error| {
        tracing::error!(error, "an answer to a voter cannot be encoded");
        Vec::new()
    })
}

impl Desk {
    async fn answer(&self, from: Uid, frame: &[u8]) -> Result<Answer, String> {
        let Request { group, body } = decode(frame)?;
        self.check_group(group, &body).await?;
        match body {
            Question::Append { entries, quorum_age_ms, .. } => self.append(from, entries, quorum_age_ms).await,
            Question::Vote(request) => self.vote(from, request).await,
            Question::Snapshot { piece, .. } => self.snapshot(piece).await,
            Question::Poll { last } => Ok(self.poll(last)),
            Question::Stand => {
                self.check_gives_way(from)?;
                tracing::info!(%from, "the leader gives way: this node stands for election");
                self.core.trigger().elect().await.map_err(|error| error.to_string())?;
                Ok(Answer::Stand)
            }
        }
    }

    /// A node without a group joins that of a leader that calls it a learner. It must not join as a voter: one that has lost
    /// its log has forgotten whom it voted for and what it acknowledged.
    async fn check_group(&self, group: Uid, body: &Question) -> Result<(), String> {
        let own = self.links.lock().group;
        let (Question::Append { learner, .. } | Question::Snapshot { learner, .. }) = body else {
            if self.links.lock().learns {
                return Err("it is a learner and has no vote".into());
            }
            return if own == Some(group) { Ok(()) } else { Err(format!("it is not of group {group}")) };
        };
        match own {
            Some(own) if own == group => self.check_learned(*learner).await,
            Some(own) => Err(format!("it is of group {own}")),
            None if *learner => {
                self.store.run(move |disk| disk.adopt(group)).await.map_err(|error| error.to_string())?;
                {
                    let mut heard = self.links.lock();
                    (heard.group, heard.learns) = (Some(group), true);
                }
                tracing::info!(%group, "this node is a learner of a group");
                Ok(())
            }
            None => Err("it has no log and cannot be a voter: remove it from the voters first".into()),
        }
    }

    /// From the first word of a leader on that calls it a voter it is one.
    async fn check_learned(&self, learner: bool) -> Result<(), String> {
        if !learner && self.links.lock().learns {
            self.store.run(super::store::Disk::has_learned).await.map_err(|error| error.to_string())?;
            self.links.lock().learns = false;
        }
        Ok(())
    }

    async fn append(
        &self,
        from: Uid,
        entries: AppendEntriesRequest<Types>,
        quorum_age_ms: Option<u64>,
    ) -> Result<Answer, String> {
        check_leader(from, entries.vote.leader_id().voted_for())?;
        let answer = self.core.append_entries(entries).await.map_err(|error| error.to_string())?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.links.lock().heard_leader(quorum_age_ms);
        }
        Ok(Answer::Append(answer))
    }

    async fn vote(&self, from: Uid, request: VoteRequest<Voter>) -> Result<Answer, String> {
        check_leader(from, request.vote.leader_id().voted_for())?;
        self.core.vote(request).await.map(Answer::Vote).map_err(|error| error.to_string())
    }

    async fn snapshot(&self, piece: Piece) -> Result<Answer, String> {
        let Piece { vote, meta, offset, data, done } = piece;
        let end = u64::try_from(data.len()).unwrap_or(u64::MAX).saturating_add(offset);
        if end > SNAPSHOT_BYTES_MAX {
            return Err(format!("a snapshot of more than {SNAPSHOT_BYTES_MAX} bytes is not taken"));
        }
        match self.core.install_snapshot(InstallSnapshotRequest { vote, meta, offset, data, done }).await {
            Ok(answer) => Ok(Answer::Snapshot(answer.vote)),
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                Ok(Answer::Mismatch(mismatch))
            }
            Err(RaftError::Fatal(error)) => Err(error.to_string()),
        }
    }

    /// An order to stand that comes late, or from somebody else, would unseat a leader that does well. While nobody is known to lead
    /// it does no harm.
    fn check_gives_way(&self, from: Uid) -> Result<(), String> {
        let leader = self.core.metrics().borrow().current_leader;
        match leader {
            Some(Voter(leader)) if leader != from => Err(format!("node {from} does not lead and cannot give way")),
            Some(_) | None => Ok(()),
        }
    }

    fn poll(&self, last: Option<LogId>) -> Answer {
        let leads = self.core.metrics().borrow().state == ServerState::Leader;
        Answer::Poll { granted: would_vote(leads, &self.links.lock(), self.lease, self.log.last(), last) }
    }
}

/// Nobody speaks for another.
fn check_leader(from: Uid, named: Option<Voter>) -> Result<(), String> {
    match named {
        Some(Voter(named)) if named == from => Ok(()),
        _ => Err(format!("node {from} speaks for another")),
    }
}
