//! What foca says, as bytes: fixed sizes, big-endian.
//!
//! | part | bytes |
//! |---|---|
//! | identity | node 16, incarnation 8, renewal 4 |
//! | header | sender's identity, its refutations 2, receiver's identity, message 1, then what the message needs: number 1, node's identity |
//! | news | count 2, then each: identity, refutations 2, state 1 |

use acp_base::Uid;
use bytes::{Buf, BufMut};
use foca::{Codec as _, Header, Member, Message, State};

use crate::Identity;

const IDENTITY_BYTES: usize = 28;
const MEMBER_BYTES: usize = IDENTITY_BYTES + 3;
const HEADER_BYTES_MIN: usize = 2 * IDENTITY_BYTES + 3;

/// Why bytes are not a message, or a message does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("it ends early")]
    Short,
    #[error("{0} is no message")]
    Message(u8),
    #[error("{0} is no state")]
    State(u8),
    #[error("no room for it")]
    Full,
}

/// The codec; it has no state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec;

impl foca::Codec<Identity> for Codec {
    type Error = CodecError;

    fn encode_header(&mut self, header: &Header<Identity>, mut buf: impl BufMut) -> Result<(), CodecError> {
        room(&buf, HEADER_BYTES_MIN + 1 + IDENTITY_BYTES)?;
        put_identity(&header.src, &mut buf);
        buf.put_u16(header.src_incarnation);
        put_identity(&header.dst, &mut buf);
        put_message(&header.message, &mut buf);
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, CodecError> {
        rest(&buf, HEADER_BYTES_MIN)?;
        let src = get_identity(&mut buf);
        let src_incarnation = buf.get_u16();
        let dst = get_identity(&mut buf);
        let message = get_message(&mut buf)?;
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(&mut self, member: &Member<Identity>, mut buf: impl BufMut) -> Result<(), CodecError> {
        room(&buf, MEMBER_BYTES)?;
        put_identity(member.id(), &mut buf);
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Identity>, CodecError> {
        rest(&buf, MEMBER_BYTES)?;
        let identity = get_identity(&mut buf);
        let refutations = buf.get_u16();
        let state = match buf.get_u8() {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            other => return Err(CodecError::State(other)),
        };
        Ok(Member::new(identity, refutations, state))
    }
}

/// How often the sender of what foca wrote has refuted a suspicion.
pub(crate) fn refutations(written: &[u8]) -> Option<u16> {
    let bytes = written.get(IDENTITY_BYTES..IDENTITY_BYTES + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// A message with this news alone; its header says how often the `sender` has refuted.
pub(crate) fn gossip(
    (sender, refutations): (Identity, u16),
    receiver: Identity,
    news: Option<&Member<Identity>>,
) -> Result<Vec<u8>, CodecError> {
    let mut written = Vec::with_capacity(HEADER_BYTES_MIN + 2 + MEMBER_BYTES);
    let header = Header { src: sender, src_incarnation: refutations, dst: receiver, message: Message::Gossip };
    Codec.encode_header(&header, &mut written)?;
    written.put_u16(u16::from(news.is_some()));
    news.map_or(Ok(()), |member| Codec.encode_member(member, &mut written))?;
    Ok(written)
}

/// Adds to what foca wrote that its receiver is suspected, so that it can refute however long ago that was gossiped (the buddy
/// system of Lifeguard). Not where there is no room, or where it is said already.
pub(crate) fn tell_suspect(written: &mut Vec<u8>, suspect: &Member<Identity>, bytes_max: usize) {
    let mut rest = &written[..];
    let Ok(header) = Codec.decode_header(&mut rest) else { return };
    let at = written.len() - rest.len();
    let carries_news = !matches!(header.message, Message::Announce | Message::Broadcast | Message::TurnUndead);
    let Some(count) = rest.try_get_u16().ok().filter(|_| carries_news && written.len() + MEMBER_BYTES <= bytes_max)
    else {
        return;
    };
    let mut news = Vec::with_capacity(MEMBER_BYTES);
    let encoded = Codec.encode_member(suspect, &mut news);
    if encoded.is_ok() && !rest.chunks(MEMBER_BYTES).any(|known| known == news) {
        written[at..at + 2].copy_from_slice(&(count + 1).to_be_bytes());
        written.extend(news);
    }
}

fn room(buf: &impl BufMut, bytes: usize) -> Result<(), CodecError> {
    if buf.remaining_mut() < bytes { Err(CodecError::Full) } else { Ok(()) }
}

fn rest(buf: &impl Buf, bytes: usize) -> Result<(), CodecError> {
    if buf.remaining() < bytes { Err(CodecError::Short) } else { Ok(()) }
}

fn put_identity(identity: &Identity, buf: &mut impl BufMut) {
    buf.put_u128(identity.node.as_u128());
    buf.put_u64(identity.incarnation);
    buf.put_u32(identity.renewal);
}

fn get_identity(buf: &mut impl Buf) -> Identity {
    Identity { node: Uid::from_u128(buf.get_u128()), incarnation: buf.get_u64(), renewal: buf.get_u32() }
}

fn put_message(message: &Message<Identity>, buf: &mut impl BufMut) {
    let (tag, number, node) = match message {
        Message::Ping(number) => (0, Some(number), None),
        Message::Ack(number) => (1, Some(number), None),
        Message::PingReq { target, probe_number } => (2, Some(probe_number), Some(target)),
        Message::IndirectPing { origin, probe_number } => (3, Some(probe_number), Some(origin)),
        Message::IndirectAck { target, probe_number } => (4, Some(probe_number), Some(target)),
        Message::ForwardedAck { origin, probe_number } => (5, Some(probe_number), Some(origin)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        Message::Gossip => (8, None, None),
        Message::Broadcast => (9, None, None),
        Message::TurnUndead => (10, None, None),
    };
    buf.put_u8(tag);
    if let Some(number) = number {
        buf.put_u8(*number);
    }
    if let Some(node) = node {
        put_identity(node, buf);
    }
}

fn get_message(buf: &mut impl Buf) -> Result<Message<Identity>, CodecError> {
    let tag = buf.get_u8();
    let (numbered, named) = (tag <= 5, (2..=5).contains(&tag));
    rest(buf, usize::from(numbered) + if named { IDENTITY_BYTES } else { 0 })?;
    let probe_number = if numbered { buf.get_u8() } else { 0 };
    let mut node = || get_identity(buf);
    Ok(match tag {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::PingReq { target: node(), probe_number },
        3 => Message::IndirectPing { origin: node(), probe_number },
        4 => Message::IndirectAck { target: node(), probe_number },
        5 => Message::ForwardedAck { origin: node(), probe_number },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        10 => Message::TurnUndead,
        // Rings broadcast nothing: 9 is refused as well.
        other => return Err(CodecError::Message(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: u128) -> Identity {
        Identity { node: Uid::from_u128(number), incarnation: 7, renewal: 3 }
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let node = identity(9);
        for message in [
            Message::Ping(1),
            Message::Ack(2),
            Message::PingReq { target: node, probe_number: 3 },
            Message::IndirectPing { origin: node, probe_number: 4 },
            Message::IndirectAck { target: node, probe_number: 5 },
            Message::ForwardedAck { origin: node, probe_number: 6 },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::TurnUndead,
        ] {
            let header = Header { src: identity(1), src_incarnation: 517, dst: identity(2), message };
            let mut bytes = Vec::new();
            Codec.encode_header(&header, &mut bytes).expect("there is room");
            assert_eq!(refutations(&bytes), Some(517));
            assert_eq!(Codec.decode_header(&bytes[..]), Ok(header));
            for end in 0..bytes.len() {
                assert_eq!(Codec.decode_header(&bytes[..end]), Err(CodecError::Short), "cut to {end}");
            }
        }
    }

    #[test]
    fn members_come_back_and_nothing_else_is_one() {
        for state in [State::Alive, State::Suspect, State::Down] {
            let member = Member::new(identity(4), 9, state);
            let mut bytes = Vec::new();
            Codec.encode_member(&member, &mut bytes).expect("there is room");
            assert_eq!(bytes.len(), MEMBER_BYTES);
            assert_eq!(Codec.decode_member(&bytes[..]), Ok(member));
            assert_eq!(Codec.decode_member(&bytes[..MEMBER_BYTES - 1]), Err(CodecError::Short));
            bytes[MEMBER_BYTES - 1] = 3;
            assert_eq!(Codec.decode_member(&bytes[..]), Err(CodecError::State(3)));
        }
    }

    #[test]
    fn a_suspect_is_told_once() {
        let suspect = Member::new(identity(2), 4, State::Suspect);
        let mut bytes = Vec::new();
        let header = Header { src: identity(1), src_incarnation: 0, dst: identity(2), message: Message::Ping(1) };
        Codec.encode_header(&header, &mut bytes).expect("there is room");
        let alone = bytes.clone();
        bytes.put_u16(0);
        let mut full = bytes.clone();
        tell_suspect(&mut full, &suspect, bytes.len() + MEMBER_BYTES - 1);
        assert_eq!(full, bytes, "no room");
        tell_suspect(&mut bytes, &suspect, 1_000);
        let mut rest = &bytes[alone.len()..];
        assert_eq!((rest.get_u16(), Codec.decode_member(&mut rest), rest), (1, Ok(suspect.clone()), &[][..]));
        let told = bytes.clone();
        tell_suspect(&mut bytes, &suspect, 1_000);
        assert_eq!(bytes, told);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut small = [0; MEMBER_BYTES - 1];
        assert_eq!(Codec.encode_member(&Member::alive(identity(1)), &mut small[..]), Err(CodecError::Full));
        let header = Header { src: identity(1), src_incarnation: 0, dst: identity(2), message: Message::Gossip };
        assert_eq!(Codec.encode_header(&header, &mut small[..]), Err(CodecError::Full));
    }
}
