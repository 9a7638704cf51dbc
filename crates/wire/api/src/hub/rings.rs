//! What a node's failure detector says of the others of its ring, and what the control plane concludes.

use acp_base::Uid;
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// See [`ReportRing`](super::ReportRing).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ReportRingRequest {
    /// The ring, as every node computes it from the list of members; one ring alone is 1.
    pub ring: u64,
    /// Which start of the reporting service it is: higher with each. What an earlier one says late does not count.
    pub incarnation: u64,
    /// Everything that it holds of the others of its ring, at most 63; it replaces what it said before.
    pub states: Vec<RingState>,
}

/// What is held of one member of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct RingState {
    /// Which member.
    pub node: Uid,
    /// What is held of it.
    pub state: RingStateKind,
}

/// What a failure detector holds a node for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum RingStateKind {
    /// It answers.
    Alive,
    /// It does not answer and may say within the suspicion that it lives.
    Suspect,
    /// It has not said so.
    Down,
}

/// What the leader concludes about a member from its session, its ring and a question of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Judgement {
    /// The conclusion.
    pub standing: Standing,
    /// For how long that has been so, in milliseconds.
    pub for_ms: u64,
    /// Why, in a sentence.
    pub evidence: String,
}

/// What the leader takes a member for. Whether its systems may be started elsewhere is for leases alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Standing {
    /// It has a session with the control plane.
    Online,
    /// It has a session and answers, but the other nodes do not reach it.
    Isolated,
    /// It lives, or its death is not proven, and it has no session.
    Unmanaged,
    /// It has neither a session nor contact with other nodes, and does not answer.
    Down,
    /// The leader cannot tell; and what a newer version concludes and this one does not know.
    #[serde(other)]
    Unknown,
}

impl Standing {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Isolated => "isolated",
            Self::Unmanaged => "unmanaged",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}
