//! What a ring asks for and says.

use std::{fmt, time::Duration};

use acp_base::Uid;

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes so often to this node. Each copy is sealed for itself: the receiver counts them.
    Send {
        /// The receiver, a member of the ring.
        to: Uid,
        /// At most [`DATAGRAM_BYTES_MAX`](crate::timing::DATAGRAM_BYTES_MAX).
        bytes: Vec<u8>,
        /// 1 to [`COPIES_MAX`](crate::COPIES_MAX).
        copies: u8,
    },
    /// The node is in contact, again or for the first time, or has refuted a suspicion.
    Up {
        /// Which node.
        node: Uid,
        /// Why.
        evidence: Evidence,
    },
    /// The node does not answer; it has [`SUSPICION`](crate::timing::SUSPICION) to refute that.
    Suspected {
        /// Which node.
        node: Uid,
        /// Why.
        evidence: Evidence,
    },
    /// The ring takes the node for dead.
    Down {
        /// Which node.
        node: Uid,
        /// Why.
        evidence: Evidence,
    },
}

/// How this node comes to say what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where it comes from.
    pub source: Source,
    /// This node's own health then: 0 is good ([`Health`](crate::Health)).
    pub health: u8,
    /// How long ago this node itself last heard the one that it speaks of; none: not yet.
    pub heard: Option<Duration>,
}

/// Where knowledge of a member comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Probes of this node, direct and through others, were not answered.
    Probe,
    /// The node itself said something.
    Contact,
    /// Another member said so.
    Told(Uid),
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::Probe => f.write_str("it answered no probe, neither directly nor through others")?,
            Source::Contact => f.write_str("it sent something")?,
            Source::Told(by) => write!(f, "{by} said so")?,
        }
        match self.heard {
            Some(ago) => write!(f, "; last heard here {} ms ago", ago.as_millis())?,
            None => f.write_str("; never heard here")?,
        }
        if self.health > 0 { write!(f, "; own health {}", self.health) } else { Ok(()) }
    }
}

/// Why a datagram is dropped. Nothing was changed. The driver counts them by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedError {
    /// It, or what it asks for, concerns a node that is no member of this ring.
    #[error("it is of or for a node that is no member of the ring")]
    Stranger,
    /// It says another sender than the one who sealed it.
    #[error("its sender is not the one that it names")]
    Sender,
    /// It is no message of a ring.
    #[error("it is no message of a ring")]
    Malformed,
    /// Another format.
    #[error("its format is {0}, not 1")]
    Format(u8),
    /// Longer than any that a member sends.
    #[error("it is too long")]
    TooLong,
}

/// Why a set of members is refused. The set from before stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// More than [`RING_MEMBERS_MAX`](crate::timing::RING_MEMBERS_MAX).
    #[error("{0} members are more than a ring has")]
    TooMany(usize),
    /// This node is not among them.
    #[error("this node is no member of the ring")]
    NotMine,
}
