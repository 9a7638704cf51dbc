//! The members in an order on which all nodes agree.

use acp_base::Uid;

use super::limits::MEMBERS_MAX;
use crate::header::{first, hash};

/// Tells whether two nodes know the same members.
pub(crate) type Digest = [u8; 8];

/// The members that take part, sorted, this node among them.
#[derive(Debug)]
pub(crate) struct Roster {
    members: Vec<Uid>,
    pub(crate) digest: Digest,
    /// Where this node stands, unless there are too many members before it.
    pub(crate) me: Option<usize>,
}

impl Roster {
    pub(crate) fn new(me: Uid, others: impl IntoIterator<Item = Uid>) -> Self {
        let mut members: Vec<Uid> = others.into_iter().chain([me]).collect();
        members.sort_unstable();
        members.dedup();
        members.truncate(MEMBERS_MAX);
        let bytes: Vec<u8> = members.iter().flat_map(|member| member.as_u128().to_be_bytes()).collect();
        let me = members.binary_search(&me).ok();
        Self { members, digest: first(&hash(b"acp datagram members", &bytes)), me }
    }

    pub(crate) fn has(&self, member: Uid) -> bool {
        self.members.binary_search(&member).is_ok()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Uid> {
        self.members.iter().copied()
    }

    /// A bit for each member for which it holds.
    pub(crate) fn bitmap(&self, holds: impl Fn(Uid) -> bool) -> Vec<u8> {
        let mut bitmap = vec![0; self.members.len().div_ceil(8)];
        for (place, member) in self.members.iter().enumerate() {
            if holds(*member) {
                bitmap[place / 8] |= 1 << (place % 8);
            }
        }
        bitmap
    }
}
