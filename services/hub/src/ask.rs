//! What one hub asks another, and what is answered. The asker is a controller: it has checked what its own caller may.

use acp_base::{Code, Failure, Uid, WallTime};
use acp_core_cdb::Refusal;
use acp_wire_api::hub::{
    ListNodesReply, Proposal, ProposeReply, ProposeRequest, Proposed, RenewSessionReply, RenewSessionRequest,
    ReportRingRequest,
};
use serde::{Deserialize, Serialize};

use crate::{keys::Kept, log::Decision, orders::Draft};

/// What the leader is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// To order entries.
    Propose(ProposeRequest),
    /// For an index that holds everything acknowledged before.
    ReadIndex,
    /// Who is online.
    Nodes,
    /// To renew a node's session.
    Session {
        /// The node.
        node: Uid,
        /// What it says.
        request: RenewSessionRequest,
    },
    /// To give way to another voter.
    Transfer {
        /// To which one; absent: to the one that is least behind.
        to: Option<Uid>,
    },
    /// What time it is, as most voters have it.
    Time,
    /// Which keys of datagrams it keeps; the one question that a hub answers that does not lead.
    Keys,
    /// The same, for a member that has said what it has.
    SyncKeys {
        /// Which node wants them.
        node: Uid,
        /// The newest that it has.
        installed: Option<u32>,
    },
    /// To hear what a node holds of the others of its ring.
    Ring {
        /// The node.
        node: Uid,
        /// What it says.
        request: ReportRingRequest,
    },
}

/// What the leader answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// To [`Ask::Propose`].
    Proposed(ProposeReply),
    /// To [`Ask::ReadIndex`].
    Index(u64),
    /// To [`Ask::Nodes`].
    Nodes(ListNodesReply),
    /// To [`Ask::Session`].
    Session(RenewSessionReply),
    /// To [`Ask::Transfer`].
    Done,
    /// To [`Ask::Time`].
    Time(WallTime),
    /// To [`Ask::Keys`] and [`Ask::SyncKeys`].
    Keys(Kept),
}

/// What was decided, on its way to another hub or to whoever has proposed it.
pub(crate) fn proposed(decision: Decision) -> Proposed {
    let (code, refused) = match decision.refused {
        Some(Refusal { code, message, .. }) => (Some(code.name().to_owned()), Some(message)),
        None => (None, None),
    };
    Proposed { index: decision.index, code, refused }
}

/// An entry that another hub passes on.
pub(crate) fn draft(proposal: Proposal) -> Result<Draft, Failure> {
    let Proposal { actor, request, action } = proposal;
    let action = serde_json::from_value(action).map_err(|error| Failure::invalid(format!("action: {error}")))?;
    Ok(Draft::new(&actor, &request, action))
}

/// What another hub says that was decided.
pub(crate) fn decisions(reply: ProposeReply) -> Result<Vec<Decision>, Failure> {
    reply.outcomes.into_iter().map(decision).collect()
}

fn decision(outcome: Proposed) -> Result<Decision, Failure> {
    let Some(message) = outcome.refused else { return Ok(Decision { index: outcome.index, refused: None }) };
    let code = outcome.code.as_deref().and_then(Code::from_name).unwrap_or(Code::FailedPrecondition);
    if outcome.index == 0 {
        return Err(Failure::new(code, message));
    }
    Ok(Decision { index: outcome.index, refused: Some(Refusal::new(code, message)) })
}
