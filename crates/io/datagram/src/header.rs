//! What stands in front of a sealed datagram, readable by everybody and authenticated with it: `docs/datagrams.md`.

use acp_base::Uid;
use aws_lc_rs::{
    aead::{NONCE_LEN, Nonce},
    digest::{SHA256, digest},
};

use crate::{
    Refusal,
    key::Life,
    limits::{HEADER_BYTES, MTU_BYTES, TAG_BYTES},
    path::{self, Channel, Path},
};

/// The one layout that there is.
const VERSION: u8 = 1;

/// Which cluster a datagram is of, told before anything is computed. Not a secret.
pub(crate) type ClusterTag = [u8; 8];

pub(crate) fn cluster_tag(cluster: Uid) -> ClusterTag {
    first(&hash(b"acp datagram cluster", &cluster.as_u128().to_be_bytes()))
}

/// The first bytes of SHA-256 over a purpose and what it is about.
pub(crate) fn hash(purpose: &[u8], of: &[u8]) -> [u8; 32] {
    first(digest(&SHA256, &[purpose, &[0], of].concat()).as_ref())
}

/// The first bytes of a hash, of which there are enough.
pub(crate) fn first<const COUNT: usize>(bytes: &[u8]) -> [u8; COUNT] {
    let mut taken = [0; COUNT];
    for (to, from) in taken.iter_mut().zip(bytes) {
        *to = *from;
    }
    taken
}

/// Everything that a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) cluster: ClusterTag,
    pub(crate) key: u32,
    pub(crate) sender: Uid,
    pub(crate) life: Life,
    pub(crate) counter: u64,
    pub(crate) path: Path,
    pub(crate) channel: Channel,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.cluster);
        bytes[9..13].copy_from_slice(&self.key.to_be_bytes());
        bytes[13..29].copy_from_slice(&self.sender.as_u128().to_be_bytes());
        bytes[29..45].copy_from_slice(&self.life.to_bytes());
        bytes[45..53].copy_from_slice(&self.counter.to_be_bytes());
        bytes[53] = path::to_byte(self.path, self.channel);
        bytes
    }

    /// The header of a datagram of this cluster that arrived in this way.
    pub(crate) fn read(datagram: &[u8], cluster: &ClusterTag, arrived: Path) -> Result<Self, Refusal> {
        if datagram.len() > MTU_BYTES {
            return Err(Refusal::Oversized);
        }
        if datagram.len() < HEADER_BYTES + TAG_BYTES {
            return Err(Refusal::Truncated);
        }
        if datagram[0] != VERSION {
            return Err(Refusal::Version);
        }
        if datagram[1..9] != *cluster {
            return Err(Refusal::Cluster);
        }
        let (path, channel) = path::of_byte(datagram[53]);
        let channel = channel.ok_or(Refusal::Channel)?;
        if path != arrived {
            return Err(Refusal::Path);
        }
        Ok(Self {
            cluster: *cluster,
            key: u32::from_be_bytes(first(&datagram[9..13])),
            sender: Uid::from_u128(u128::from_be_bytes(first(&datagram[13..29]))),
            life: Life::from_bytes(first(&datagram[29..45])),
            counter: u64::from_be_bytes(first(&datagram[45..53])),
            path,
            channel,
        })
    }

    /// The number that no other datagram under the same subkey has.
    pub(crate) fn nonce(&self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}
