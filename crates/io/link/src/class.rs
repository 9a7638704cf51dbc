//! What a connection between nodes is for.

/// Kinds of connections. They are never shared, so that what must not wait does not wait behind what can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Leases, sessions, consensus.
    Control,
    /// Calls to services.
    Calls,
    /// As [`Class::Control`] and [`Class::Calls`], but opened by the side that was dialled.
    Reverse,
    /// One raw stream: migration, disks.
    Bulk,
    /// A certificate is to be renewed; it may have expired.
    Renewal,
    /// Somebody without a certificate wants to join.
    Join,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 6] = [Self::Control, Self::Calls, Self::Reverse, Self::Bulk, Self::Renewal, Self::Join];

    /// Its name in the handshake (ALPN, RFC 7301). The number grows with an incompatible change.
    pub const fn protocol(self) -> &'static [u8] {
        match self {
            Self::Control => b"acp-control/1",
            Self::Calls => b"acp-calls/1",
            Self::Reverse => b"acp-reverse/1",
            Self::Bulk => b"acp-bulk/1",
            Self::Renewal => b"acp-renewal/1",
            Self::Join => b"acp-join/1",
        }
    }

    /// The class of this name.
    pub fn of(protocol: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.protocol() == protocol)
    }
}
