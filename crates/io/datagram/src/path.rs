//! How a datagram travels and what it is for.

/// How a datagram travels. It is part of what is sealed: one that was sent to a node alone does not open where the group
/// listens, nor the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// To the cluster's group, on this link.
    Multicast,
    /// To one node.
    Unicast,
}

/// Whom a datagram is for at the receiver. This crate knows nothing else of what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// The replication of slots.
    Sync,
    /// Failure detection.
    Swim,
    /// The self-test of multicast ([`crate::selftest`]).
    SelfTest,
}

/// The bit of the last byte of a header that says multicast.
const MULTICAST: u8 = 0x80;

/// The last byte of a header.
pub(crate) const fn to_byte(path: Path, channel: Channel) -> u8 {
    let channel = match channel {
        Channel::Sync => 1,
        Channel::Swim => 2,
        Channel::SelfTest => 3,
    };
    match path {
        Path::Multicast => channel | MULTICAST,
        Path::Unicast => channel,
    }
}

/// How it says that it travels, and for whom; nobody if the channel is none of ours.
pub(crate) const fn of_byte(byte: u8) -> (Path, Option<Channel>) {
    let path = if byte & MULTICAST == 0 { Path::Unicast } else { Path::Multicast };
    let channel = match byte & !MULTICAST {
        1 => Some(Channel::Sync),
        2 => Some(Channel::Swim),
        3 => Some(Channel::SelfTest),
        _ => None,
    };
    (path, channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_means_one_thing() {
        let mut known = 0;
        for byte in 0..=u8::MAX {
            if let (path, Some(channel)) = of_byte(byte) {
                assert_eq!(to_byte(path, channel), byte);
                known += 1;
            }
        }
        assert_eq!(known, 6, "two paths for each of three channels");
    }
}
