//! Opening what arrives, or saying why not.

use std::net::SocketAddr;

use acp_base::{BootInstant, Uid};
use aws_lc_rs::aead::{Aad, LessSafeKey};

use crate::{
    Identity, KeyRing, Refusal,
    header::{ClusterTag, Header, cluster_tag},
    key::{CryptoError, Process},
    limits::HEADER_BYTES,
    path::{Channel, Path},
    refusal::Refusals,
    senders::Senders,
};

/// A datagram as it arrived.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Its bytes. Opening is done in place and leaves them unusable.
    pub bytes: &'a mut [u8],
    /// The address that it says it is from: for logs, since anybody can write it.
    pub from: SocketAddr,
    /// Which socket it arrived at.
    pub path: Path,
}

/// A datagram that a member of the cluster has sealed, and that was not opened before.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Who sealed it, as far as the group key tells: any holder of it can write this name.
    pub sender: Uid,
    /// Whom it is for.
    pub channel: Channel,
    /// The way that it was sent and came.
    pub path: Path,
    /// What was sealed.
    pub payload: &'a [u8],
}

/// Opens datagrams for one node.
///
/// **Invariants**: a datagram opens at most once, and only if it is of the newest life of its sender that was heard here;
/// whatever does not open is counted under its reason and changes nothing else.
#[derive(Debug)]
pub struct Opener {
    identity: Identity,
    tag: ClusterTag,
    ring: KeyRing,
    senders: Senders,
    refusals: Refusals,
    opened: metrics::Counter,
}

impl Opener {
    /// An opener that has heard nobody yet.
    pub fn new(identity: Identity, ring: KeyRing) -> Self {
        Self {
            identity,
            tag: cluster_tag(identity.cluster),
            ring,
            senders: Senders::default(),
            refusals: Refusals::default(),
            opened: metrics::counter!("acp_datagrams_opened_total"),
        }
    }

    /// Opens with the keys of this ring from now on.
    pub fn rekey(&mut self, ring: &KeyRing) {
        self.ring = ring.clone();
        self.senders.rekey(ring);
    }

    /// Forgets a node that is a member no more.
    pub fn forget(&mut self, sender: Uid) {
        self.senders.forget(sender);
    }

    /// How many datagrams were refused for this reason.
    pub const fn refused(&self, refusal: Refusal) -> u64 {
        self.refusals.count(refusal)
    }

    /// How many senders are remembered.
    pub fn senders(&self) -> usize {
        self.senders.count()
    }

    /// Opens a datagram.
    ///
    /// # Errors
    /// Why it was refused. That is counted and, seldom enough, logged; there is nothing that the caller must do.
    pub fn open<'a>(&mut self, now: BootInstant, arrival: Arrival<'a>) -> Result<Opened<'a>, Refusal> {
        let Arrival { bytes, from, path } = arrival;
        let header = match Header::read(bytes, &self.tag, path) {
            Ok(header) => header,
            Err(refusal) => {
                self.refusals.note(now, refusal, None, from);
                return Err(refusal);
            }
        };
        match self.open_from(now, &header, bytes) {
            Ok(payload) => {
                self.opened.increment(1);
                Ok(Opened { sender: header.sender, channel: header.channel, path, payload })
            }
            Err(refusal) => {
                self.refusals.note(now, refusal, Some(header.sender), from);
                Err(refusal)
            }
        }
    }

    fn open_from<'a>(&mut self, now: BootInstant, header: &Header, bytes: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
        if header.sender == self.identity.node {
            return Err(Refusal::Own);
        }
        let key = self.ring.find(header.key)?;
        let known = self.senders.check(header)?;
        if let Some(subkey) = known.and_then(|sender| sender.subkey(header.key)) {
            let payload = unseal(subkey, header, bytes)?;
            self.senders.remember(now, header, None);
            return Ok(payload);
        }
        let process = Process { cluster: self.identity.cluster, node: header.sender, life: header.life };
        // Where cryptography does not work nothing is authentic.
        let subkey = key.subkey(&process).map_err(|CryptoError| Refusal::Forged)?;
        let payload = unseal(&subkey, header, bytes)?;
        self.senders.remember(now, header, Some(subkey));
        Ok(payload)
    }
}

fn unseal<'a>(subkey: &LessSafeKey, header: &Header, bytes: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
    let (head, sealed) = bytes.split_at_mut(HEADER_BYTES);
    let opened = subkey.open_in_place(header.nonce(), Aad::from(&*head), sealed);
    opened.map(|payload| &*payload).map_err(|_says_nothing| Refusal::Forged)
}

#[cfg(test)]
mod tests;
