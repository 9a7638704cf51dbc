//! What a node is told of others, what its driver has to do, and what it refuses.

use std::{sync::Arc, time::Duration};

use acp_base::{EpochId, Uid};

use crate::{
    repeats::To,
    replica::Slot,
    slot::{Origin, SlotKey},
    wire::DecodeError,
};

/// How a node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What goes to the group reaches it.
    Multicast,
    /// It needs a copy of its own.
    Unicast,
}

/// What the driver has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Seal and send this message.
    Send {
        /// To whom.
        to: To,
        /// At most [`crate::limits::MTU_BYTES`].
        bytes: Arc<[u8]>,
    },
    /// Ask a relay of this domain with this message, and give its answers to [`crate::Sync::receive_from`].
    Ask {
        /// Which domain.
        domain: Arc<str>,
        /// The message.
        bytes: Arc<[u8]>,
    },
    /// A slot of another node has changed.
    Changed {
        /// Whose it is.
        origin: Origin,
        /// Which one.
        key: SlotKey,
        /// What it says now; none if it is gone.
        slot: Option<Slot>,
    },
    /// All that the origin says is here, and its reporter stands by its states.
    Stood {
        /// The origin.
        origin: Origin,
        /// The reporter's short name.
        reporter: Arc<str>,
        /// How long ago it did.
        age: Duration,
    },
    /// This node has published under a higher incarnation before, as others know; it goes on with one above.
    BegunAgain {
        /// The incarnation from now on.
        incarnation: u64,
    },
}

/// Why a message was not taken. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Its sender lives in another epoch.
    #[error("a message of epoch {theirs}; this node is in {ours}")]
    Epoch {
        /// The sender's.
        theirs: EpochId,
        /// This node's.
        ours: EpochId,
    },
    /// Membership has dropped the node.
    #[error("a message of or about {0}, which is no member any more")]
    Forgotten(Uid),
    /// What is said of the node does not come by this way.
    #[error("a message of or about {0} that does not come by this way: domains hear each other by their relays alone")]
    Astray(Uid),
    /// A node says as its own what is another's.
    #[error("{from} speaks as if it were {origin}")]
    NotItsOwn {
        /// The sender.
        from: Uid,
        /// Whose slots.
        origin: Uid,
    },
}
