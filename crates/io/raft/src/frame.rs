//! What voters say to each other: MessagePack with names, so that a newer version can add a field.
//!
//! **Invariant**: a frame carries its sender's group. A voter of another group, such as one that slept through a recovery, is
//! neither heard nor helped.

use acp_base::Uid;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};

use crate::types::{LogId, SnapshotMeta, Types, Vote, Voter, blob};

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The sender's group.
    pub(crate) group: Uid,
    pub(crate) body: Question,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// A leader's entries, or none to be heard.
    Append {
        entries: AppendEntriesRequest<Types>,
        /// Whether the receiver is a learner of the group: only such a node may be without a log of its own.
        learner: bool,
        /// How long ago a majority acknowledged the leader, in milliseconds.
        quorum_age_ms: Option<u64>,
    },
    /// A candidate's.
    Vote(VoteRequest<Voter>),
    /// A piece of a leader's snapshot.
    Snapshot { piece: Piece, learner: bool },
    /// Would the receiver vote for the sender, whose log ends here? Changes nothing.
    Poll { last: Option<LogId> },
    /// The leader gives way: the receiver is to stand for election now.
    Stand,
}

/// A piece of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) offset: u64,
    #[serde(with = "blob")]
    pub(crate) data: Vec<u8>,
    pub(crate) done: bool,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<Voter>),
    Vote(VoteResponse<Voter>),
    /// The piece was taken, or the receiver has a newer vote.
    Snapshot(Vote),
    /// The piece does not follow what the receiver has: begin anew.
    Mismatch(openraft::error::SnapshotMismatch),
    Poll {
        granted: bool,
    },
    Stand,
    /// The receiver does not take part, for this reason.
    Refused(String),
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    rmp_serde::to_vec_named(value).map_err(|error| error.to_string())
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| format!("the frame cannot be read: {error}"))
}
