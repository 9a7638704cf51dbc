//! What of a datagram is let through to foca.
//!
//! foca makes a member of every sender and of everybody it is told of, and has no hook to refuse one. So each datagram is read
//! before: one from or about a node outside the ring as a whole is dropped, and news of such nodes is cut out of the others.

use acp_base::Uid;
use bytes::{Buf, BufMut};
use foca::{Codec as _, Member, Message, State};

use super::RefusedError;
use crate::{Identity, codec::Codec};

/// A datagram that foca may see.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) sender: Identity,
    pub(crate) bytes: Vec<u8>,
    /// A later identity of this node that others know of: from a life whose incarnation was higher.
    pub(crate) later: Option<Identity>,
    /// It still suspects this node of what it has refuted; that is cut out, since foca would tell four others of it each time.
    pub(crate) outdated: bool,
    /// How many pieces of news were cut out because they concern nodes outside the ring.
    pub(crate) strangers: usize,
}

/// Reads what `from` sent to `mine`, who has refuted so many suspicions; `is_peer` knows the other members of the ring.
pub(crate) fn filter(
    bytes: &[u8],
    from: Uid,
    (mine, refutations): (&Identity, u16),
    is_peer: impl Fn(Uid) -> bool,
) -> Result<Passed, RefusedError> {
    let mut rest = bytes;
    let header = Codec.decode_header(&mut rest).map_err(|_error| RefusedError::Malformed)?;
    if header.src.node != from {
        return Err(RefusedError::Sender);
    }
    let named = named(&header.message).is_none_or(|node| node == mine.node || is_peer(node));
    if !is_peer(from) || header.dst.node != mine.node || !named {
        return Err(RefusedError::Stranger);
    }
    let mut passed = bytes[..bytes.len() - rest.len()].to_vec();
    let (mut later, mut outdated, mut strangers) = (Some(header.dst).filter(|dst| dst > mine), false, 0);
    if rest.has_remaining() {
        let news = read_news(rest)?;
        let known = news.len();
        let kept: Vec<_> =
            news.into_iter().filter(|news| is_peer(news.id().node) || news.id().node == mine.node).collect();
        strangers = known - kept.len();
        later = kept.iter().map(|news| *news.id()).filter(|id| id.node == mine.node && id > mine).chain(later).max();
        let refuted = |news: &&Member<Identity>| {
            news.id() == mine && news.state() == State::Suspect && news.incarnation() < refutations
        };
        outdated = kept.iter().any(|news| refuted(&news));
        // What is said of earlier identities of this node is over; foca would make it a member of its own ring.
        let passes = |news: &&Member<Identity>| (news.id().node != mine.node || news.id() == mine) && !refuted(news);
        write_news(kept.iter().filter(passes), &mut passed)?;
    }
    Ok(Passed { sender: header.src, bytes: passed, later, outdated, strangers })
}

/// The third node that a message concerns.
const fn named(message: &Message<Identity>) -> Option<Uid> {
    match message {
        Message::PingReq { target: node, .. }
        | Message::IndirectPing { origin: node, .. }
        | Message::IndirectAck { target: node, .. }
        | Message::ForwardedAck { origin: node, .. } => Some(node.node),
        Message::Ping(_)
        | Message::Ack(_)
        | Message::Announce
        | Message::Feed
        | Message::Gossip
        | Message::Broadcast
        | Message::TurnUndead => None,
    }
}

fn read_news(mut rest: &[u8]) -> Result<Vec<Member<Identity>>, RefusedError> {
    let count = rest.try_get_u16().map_err(|_short| RefusedError::Malformed)?;
    let news: Result<_, _> = (0..count).map(|_news| Codec.decode_member(&mut rest)).collect();
    if rest.has_remaining() { Err(RefusedError::Malformed) } else { news.map_err(|_error| RefusedError::Malformed) }
}

fn write_news<'a>(news: impl Iterator<Item = &'a Member<Identity>>, passed: &mut Vec<u8>) -> Result<(), RefusedError> {
    let at = passed.len();
    passed.put_u16(0);
    let mut count = 0_u16;
    for member in news {
        Codec.encode_member(member, &mut *passed).map_err(|_error| RefusedError::Malformed)?;
        count += 1;
    }
    passed[at..at + 2].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use foca::Header;

    use super::*;

    fn id(node: u128) -> Identity {
        Identity { node: Uid::from_u128(node), incarnation: 5, renewal: 0 }
    }

    fn is_peer(node: Uid) -> bool {
        (2..=3).contains(&node.as_u128())
    }

    fn datagram(src: Identity, dst: Identity, message: Message<Identity>, news: &[Member<Identity>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = Header { src, src_incarnation: 0, dst, message };
        Codec.encode_header(&header, &mut bytes).expect("there is room");
        write_news(news.iter(), &mut bytes).expect("there is room");
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Passed, RefusedError> {
        filter(bytes, Uid::from_u128(2), (&id(1), 2), is_peer)
    }

    #[test]
    fn strangers_are_cut_out_wherever_they_stand() {
        let news: Vec<_> = [1, 2, 3, 9].map(id).map(Member::alive).into();
        let passed = read(&datagram(id(2), id(1), Message::Gossip, &news)).expect("a member sent it");
        assert_eq!(passed.bytes, datagram(id(2), id(1), Message::Gossip, &news[..3]));
        assert_eq!((passed.strangers, passed.later, passed.sender), (1, None, id(2)));
        for (node, error) in [(9, RefusedError::Sender), (3, RefusedError::Sender)] {
            assert_eq!(read(&datagram(id(node), id(1), Message::Gossip, &[])).err(), Some(error));
        }
        let foreign = datagram(id(9), id(1), Message::Announce, &[]);
        assert_eq!(filter(&foreign, id(9).node, (&id(1), 2), is_peer).err(), Some(RefusedError::Stranger));
        assert_eq!(read(&datagram(id(2), id(3), Message::Gossip, &[])).err(), Some(RefusedError::Stranger));
        let (target, probe_number) = (id(9), 1);
        for message in [
            Message::PingReq { target, probe_number },
            Message::IndirectPing { origin: target, probe_number },
            Message::IndirectAck { target, probe_number },
            Message::ForwardedAck { origin: target, probe_number },
        ] {
            assert_eq!(read(&datagram(id(2), id(1), message, &[])).err(), Some(RefusedError::Stranger));
        }
    }

    #[test]
    fn news_of_other_lives_of_this_node_is_taken_apart() {
        let earlier = Identity { incarnation: 4, ..id(1) };
        let later = Identity { incarnation: 6, renewal: 2, ..id(1) };
        let news = [earlier, later].map(|id| Member::new(id, 0, State::Alive));
        let passed = read(&datagram(id(2), id(1), Message::Gossip, &news)).expect("a member sent it");
        assert_eq!(passed.bytes, datagram(id(2), id(1), Message::Gossip, &[]));
        assert_eq!(passed.later, Some(later));
        let to_later = read(&datagram(id(2), later, Message::Ping(1), &[])).expect("a member sent it");
        assert_eq!(to_later.later, Some(later));
    }

    #[test]
    fn a_suspicion_that_is_refuted_is_cut_out() {
        for (incarnation, outdated) in [(1, true), (2, false)] {
            let news = [Member::new(id(1), incarnation, State::Suspect)];
            let passed = read(&datagram(id(2), id(1), Message::Gossip, &news)).expect("a member sent it");
            let expected = datagram(id(2), id(1), Message::Gossip, if outdated { &[] } else { &news });
            assert_eq!((passed.outdated, passed.bytes), (outdated, expected));
        }
    }

    #[test]
    fn whatever_is_cut_or_longer_is_refused() {
        let whole = datagram(id(2), id(1), Message::Ping(1), &[Member::alive(id(3))]);
        let header = whole.len() - 33;
        for end in (0..whole.len()).filter(|end| *end != header) {
            assert_eq!(read(&whole[..end]).err(), Some(RefusedError::Malformed), "cut to {end}");
        }
        assert!(read(&whole[..header]).is_ok(), "a header alone is a message");
        assert_eq!(read(&[&whole[..], &[0]].concat()).err(), Some(RefusedError::Malformed));
    }
}
