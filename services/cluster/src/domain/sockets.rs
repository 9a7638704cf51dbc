//! This node's voice and ears: the sockets at its address, and the keys that what passes them is sealed with.
//!
//! **Invariant**: a process seals all its datagrams with one [`Sealer`], whatever becomes of address and keys.

use std::{io, net::SocketAddr, time::Duration};

use acp_base::{BootInstant, Uid};
use acp_io_daemon::boot_now;
use acp_io_datagram::{
    Batch, BindError, Channel, Endpoint, Identity, KeyRing, Loopback, Opener, Path, Refusal, SealError, Sealer,
};

use super::keys::KeySet;

/// The pause before an address that cannot be had is tried again.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// One life's keys.
#[derive(Debug)]
struct Seals {
    keys: KeySet,
    sealer: Sealer,
    opener: Opener,
}

/// The sockets, as far as there are any.
#[derive(Debug)]
pub(super) struct Sockets {
    node: Uid,
    /// Of the life that the next sealer seals for.
    incarnation: u64,
    cluster: Option<Uid>,
    /// Where they shall be.
    wanted: Option<SocketAddr>,
    endpoint: Option<Endpoint>,
    bind_at: BootInstant,
    /// Why there are none, or none for multicast.
    trouble: Option<String>,
    seals: Option<Seals>,
    sealed: Vec<u8>,
}

impl Sockets {
    /// None yet.
    pub(super) const fn new(node: Uid, incarnation: u64) -> Self {
        Self {
            node,
            incarnation,
            cluster: None,
            wanted: None,
            endpoint: None,
            bind_at: BootInstant::from_nanos(0),
            trouble: None,
            seals: None,
            sealed: Vec::new(),
        }
    }

    /// Where this node is in which cluster from now on.
    pub(super) fn place(&mut self, now: BootInstant, cluster: Option<Uid>, address: Option<SocketAddr>) {
        if self.cluster != cluster {
            self.seals = None;
        }
        if (self.cluster, self.wanted) != (cluster, address) {
            // Another cluster has another group on the same address.
            (self.cluster, self.wanted) = (cluster, address);
            (self.endpoint, self.trouble, self.bind_at) = (None, None, now);
        }
        self.bind(now);
    }

    /// Seals and opens with these keys from now on; with none not at all.
    pub(super) fn rekey(&mut self, keys: Option<KeySet>) {
        let Some((keys, cluster)) = keys.zip(self.cluster) else {
            self.seals = None;
            return;
        };
        let ring = keys.ring();
        match &mut self.seals {
            Some(seals) => {
                if let Err(error) = seals.sealer.rekey(&ring) {
                    tracing::error!(%error, "a new key for datagrams cannot be sealed with");
                }
                seals.opener.rekey(&ring);
                seals.keys = keys;
            }
            None => self.begin(cluster, keys, &ring),
        }
    }

    fn begin(&mut self, cluster: Uid, keys: KeySet, ring: &KeyRing) {
        let identity = Identity { cluster, node: self.node };
        match Sealer::new(identity, self.incarnation, ring) {
            Ok(sealer) => self.seals = Some(Seals { keys, sealer, opener: Opener::new(identity, ring.clone()) }),
            Err(error) => tracing::error!(%error, "datagrams cannot be sealed"),
        }
        // Receivers refuse a life that is not above the one before.
        self.incarnation += 1;
    }

    /// When [`Self::bind`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<BootInstant> {
        (self.wanted.is_some() && self.endpoint.is_none()).then_some(self.bind_at)
    }

    /// Makes the sockets, if they are wanted and not there.
    pub(super) fn bind(&mut self, now: BootInstant) {
        let Some(at) = self.wanted.filter(|_| self.endpoint.is_none() && self.bind_at <= now) else { return };
        let before = self.trouble.take();
        match Endpoint::bind(at) {
            Ok(mut endpoint) => {
                let joined = self.cluster.map(|cluster| endpoint.join(cluster, Loopback::Off));
                self.trouble = joined.and_then(Result::err).map(|error| said(&error));
                self.endpoint = Some(endpoint);
                tracing::info!(%at, without_multicast = self.trouble, "datagrams are heard");
            }
            Err(error) => {
                self.trouble = Some(said(&error));
                self.bind_at = now + BIND_PAUSE;
                if before != self.trouble {
                    tracing::warn!(%at, reason = self.trouble, "datagrams cannot be heard yet");
                }
            }
        }
    }

    /// Waits until something has arrived. Cancel-safe; without sockets it waits for ever.
    pub(super) async fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        match &self.endpoint {
            Some(endpoint) => endpoint.receive(batch).await,
            None => std::future::pending().await,
        }
    }

    /// The sockets are of no use any more: others are made after a pause.
    pub(super) fn broke(&mut self, error: &io::Error) {
        tracing::warn!(%error, "the sockets for datagrams are made anew");
        self.trouble = Some(error.to_string());
        (self.endpoint, self.bind_at) = (None, boot_now() + BIND_PAUSE);
    }

    /// The opener, where there are keys.
    pub(super) fn opener(&mut self) -> Option<&mut Opener> {
        self.seals.as_mut().map(|seals| &mut seals.opener)
    }

    /// Sends to the group.
    pub(super) fn multicast(&mut self, channel: Channel, payload: &[u8]) {
        if self.trouble.is_none() && self.seal(Path::Multicast, channel, payload) {
            // What does not leave is counted, and as lost as in the network.
            drop(self.endpoint.as_ref().map(|endpoint| endpoint.multicast(&self.sealed)));
        }
    }

    /// Sends to one address.
    pub(super) fn unicast(&mut self, channel: Channel, payload: &[u8], to: SocketAddr) {
        if self.seal(Path::Unicast, channel, payload) {
            drop(self.endpoint.as_ref().map(|endpoint| endpoint.send(&self.sealed, to)));
        }
    }

    /// Sends to one address in one piece or not at all.
    pub(super) fn whole(&mut self, channel: Channel, payload: &[u8], to: SocketAddr) {
        if self.seal(Path::Unicast, channel, payload) {
            drop(self.endpoint.as_ref().map(|endpoint| endpoint.send_whole(&self.sealed, to)));
        }
    }

    fn seal(&mut self, path: Path, channel: Channel, payload: &[u8]) -> bool {
        if self.endpoint.is_none() {
            return false;
        }
        let Some(seals) = &mut self.seals else { return false };
        match seals.sealer.seal(path, channel, payload, &mut self.sealed) {
            Ok(()) => true,
            Err(SealError::Exhausted) => {
                let Some((keys, cluster)) = self.seals.take().map(|seals| seals.keys).zip(self.cluster) else {
                    return false;
                };
                let ring = keys.ring();
                self.begin(cluster, keys, &ring);
                false
            }
            Err(error) => {
                tracing::error!(%error, "a datagram cannot be sealed");
                false
            }
        }
    }

    /// Where this node is heard.
    pub(super) const fn address(&self) -> Option<SocketAddr> {
        match &self.endpoint {
            Some(endpoint) => Some(endpoint.address()),
            None => None,
        }
    }

    /// Why there are no sockets, or none for multicast; none: all is well.
    pub(super) fn trouble(&self) -> Option<String> {
        match (&self.trouble, &self.seals) {
            (Some(trouble), _) => Some(trouble.clone()),
            (None, None) if self.wanted.is_some() => {
                Some("no key for datagrams has come from the control plane yet".to_owned())
            }
            (None, _) => None,
        }
    }

    /// The number of the key that is sealed with.
    pub(super) fn key(&self) -> Option<u32> {
        self.seals.as_ref().map(|seals| seals.keys.seal())
    }

    /// How many datagrams were refused, by reason.
    pub(super) fn refused(&self) -> Vec<(&'static str, u64)> {
        let Some(seals) = &self.seals else { return Vec::new() };
        let count = |refusal: Refusal| (refusal.name(), seals.opener.refused(refusal));
        Refusal::ALL.into_iter().map(count).filter(|(_, count)| *count > 0).collect()
    }
}

fn said(error: &BindError) -> String {
    acp_base::sentence(error)
}
