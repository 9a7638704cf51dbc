//! Who a member of a ring is.

use acp_base::Uid;

/// A node in one of its lives. The later identity of a node displaces the earlier one everywhere.
///
/// The order is that of the fields, so that for one node a later incarnation wins, then a later renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The node.
    pub node: Uid,
    /// Grows with each start of the process that runs the ring.
    pub incarnation: u64,
    /// Grows each time the node finds itself declared dead.
    pub renewal: u32,
}

impl Identity {
    /// The first identity of a life.
    pub(crate) const fn born(node: Uid, incarnation: u64) -> Self {
        Self { node, incarnation, renewal: 0 }
    }

    /// Whom to call of whom nothing is known: calls reach a node under any of its identities.
    pub(crate) const fn unknown(node: Uid) -> Self {
        Self::born(node, 0)
    }

    /// The identity that displaces this one; none after 2^32 of them in one life.
    pub(crate) fn successor(&self) -> Option<Self> {
        self.renewal.checked_add(1).map(|renewal| Self { renewal, ..*self })
    }
}

impl foca::Identity for Identity {
    type Addr = Uid;

    fn renew(&self) -> Option<Self> {
        self.successor()
    }

    fn addr(&self) -> Uid {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self > adversary
    }
}
