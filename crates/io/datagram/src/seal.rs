//! Sealing what this process sends.

use std::fmt;

use acp_base::Uid;
use aws_lc_rs::aead::{Aad, LessSafeKey};

use crate::{
    KeyRing,
    header::{ClusterTag, Header, cluster_tag},
    key::{CryptoError, Life, Process},
    limits::{COUNTER_MAX, PAYLOAD_BYTES_MAX},
    path::{Channel, Path},
};

/// Which node of which cluster seals or opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's uid.
    pub cluster: Uid,
    /// This node's uid.
    pub node: Uid,
}

/// Why something is not sealed; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It does not fit into one datagram. The caller's fault.
    #[error("{bytes} bytes do not fit into a datagram, which carries {PAYLOAD_BYTES_MAX}")]
    Oversized {
        /// What was to be sealed.
        bytes: usize,
    },
    /// As many as one life may seal were sealed. A new sealer goes on.
    #[error("this process has sealed {COUNTER_MAX} datagrams, as many as one key is good for")]
    Exhausted,
    /// The provider of cryptography refuses.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Seals datagrams of one life of this node.
///
/// **Invariant**: no counter is used twice. There is one owner, no copy, and a counter goes on over changes of the key; a
/// sealer that is made anew has a life of its own and thereby other keys.
pub struct Sealer {
    process: Process,
    tag: ClusterTag,
    key: u32,
    subkey: LessSafeKey,
    /// The last counter that was used.
    counter: u64,
    sealed: metrics::Counter,
}

impl Sealer {
    /// A sealer for a new life of this node. `incarnation` is greater than that of all its lives before, durably: receivers
    /// refuse a life that is older than one they have heard.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(identity: Identity, incarnation: u64, ring: &KeyRing) -> Result<Self, CryptoError> {
        Self::of_life(identity, Life::begin(incarnation)?, ring)
    }

    pub(crate) fn of_life(identity: Identity, life: Life, ring: &KeyRing) -> Result<Self, CryptoError> {
        let process = Process { cluster: identity.cluster, node: identity.node, life };
        Ok(Self {
            process,
            tag: cluster_tag(identity.cluster),
            key: ring.sealing().number(),
            subkey: ring.sealing().subkey(&process)?,
            counter: 0,
            sealed: metrics::counter!("acp_datagrams_sealed_total"),
        })
    }

    /// Seals with the key that the ring seals with from now on.
    ///
    /// # Errors
    /// When the provider of cryptography refuses; the key before is sealed with then, as before.
    pub fn rekey(&mut self, ring: &KeyRing) -> Result<(), CryptoError> {
        self.subkey = ring.sealing().subkey(&self.process)?;
        self.key = ring.sealing().number();
        Ok(())
    }

    /// Seals one datagram into `datagram`, whose former content is dropped. It is to be sent the way that `path` says.
    ///
    /// # Errors
    /// When it is too large or the counter is used up.
    pub fn seal(
        &mut self,
        path: Path,
        channel: Channel,
        payload: &[u8],
        datagram: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        datagram.clear();
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(SealError::Oversized { bytes: payload.len() });
        }
        let header = self.next(path, channel)?;
        let bytes = header.to_bytes();
        datagram.extend_from_slice(&bytes);
        datagram.extend_from_slice(payload);
        let sealed = &mut datagram[bytes.len()..];
        match self.subkey.seal_in_place_separate_tag(header.nonce(), Aad::from(&bytes), sealed) {
            Ok(tag) => datagram.extend_from_slice(tag.as_ref()),
            Err(error) => {
                // What was not sealed must not be sent by a caller who does not look.
                datagram.clear();
                return Err(CryptoError::from(error).into());
            }
        }
        self.sealed.increment(1);
        Ok(())
    }

    /// The next header; its counter is used from here on, whatever becomes of it.
    fn next(&mut self, path: Path, channel: Channel) -> Result<Header, SealError> {
        if self.counter >= COUNTER_MAX {
            return Err(SealError::Exhausted);
        }
        self.counter += 1;
        Ok(Header {
            cluster: self.tag,
            key: self.key,
            sender: self.process.node,
            life: self.process.life,
            counter: self.counter,
            path,
            channel,
        })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Sealer");
        shown.field("process", &self.process).field("key", &self.key).field("counter", &self.counter);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
