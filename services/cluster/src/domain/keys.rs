//! The keys that datagrams are sealed with, as the control plane hands them out over mutual TLS. In memory alone.

use std::{sync::Arc, time::Duration};

use acp_base::{EpochId, Failure, from_hex};
use acp_io_datagram::{GroupKey, KeyRing, SECRET_BYTES};
use acp_wire_api::hub::{SyncKey, SyncKeys, SyncKeysReply, SyncKeysRequest};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{epoch::Epoch, peers::Peers, proposer::Hubs};

/// How often the keys are asked for when nothing suggests that there are others.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often while a new key is not sealed with yet: it is sealed with once all who are there have said that they have it.
const LOOK_OFTEN: Duration = Duration::from_millis(500);

/// The pause after a look that failed: the hubs may be of an earlier version that hands out none.
const RETRY: Duration = Duration::from_secs(1);

/// The shortest pause between two looks: what anybody may send to this node must not make it ask more often.
const PAUSE: Duration = Duration::from_millis(250);

/// The keys of an epoch.
#[derive(Clone, Debug)]
pub(super) struct KeySet {
    newest: GroupKey,
    previous: Option<GroupKey>,
    is_active: bool,
    epoch: String,
}

impl KeySet {
    /// The keys to seal and open with.
    pub(super) fn ring(&self) -> KeyRing {
        let Some(previous) = &self.previous else { return KeyRing::new(self.newest.clone()) };
        let mut ring = KeyRing::new(previous.clone());
        if let Err(error) = ring.install(self.newest.clone()) {
            tracing::error!(%error, "the control plane's keys for datagrams do not fit together");
        } else if self.is_active {
            ring.activate();
        }
        ring
    }

    /// The number of the key to seal with.
    pub(super) fn seal(&self) -> u32 {
        self.ring().sealing().number()
    }

    /// Whether they count in this epoch.
    pub(super) fn is_of(&self, epoch: EpochId) -> bool {
        self.epoch == Epoch::from(epoch).as_str()
    }

    fn is_same(&self, other: &Self) -> bool {
        let numbers = |set: &Self| (set.newest.number(), set.previous.as_ref().map(GroupKey::number), set.is_active);
        self.epoch == other.epoch && numbers(self) == numbers(other)
    }
}

impl TryFrom<&SyncKeysReply> for KeySet {
    type Error = Failure;

    fn try_from(reply: &SyncKeysReply) -> Result<Self, Failure> {
        let mut keys = reply.keys.iter().map(key);
        let newest = keys.next().unwrap_or_else(|| Err(malformed("it has none")))?;
        let previous = keys.next().transpose()?;
        let is_active = reply.seal == newest.number();
        if previous.as_ref().is_some_and(|previous| previous.number() >= newest.number()) || keys.next().is_some() {
            return Err(malformed("they are not the newest and the one before"));
        }
        Ok(Self { newest, previous, is_active, epoch: reply.epoch.clone() })
    }
}

fn key(key: &SyncKey) -> Result<GroupKey, Failure> {
    let bytes = from_hex(&key.secret).map(<[u8; SECRET_BYTES]>::try_from);
    match bytes {
        Some(Ok(mut secret)) => Ok(GroupKey::new(key.number, &mut secret)),
        Some(Err(_)) | None => Err(malformed("one is not 32 bytes long")),
    }
}

fn malformed(why: &str) -> Failure {
    Failure::internal(format!("the keys for datagrams that the hub gives are of no use: {why}"))
}

/// Fetches keys, and tells them.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) hubs: Hubs,
    pub(super) peers: watch::Receiver<Arc<Peers>>,
    /// Somebody seals with a key that is not known here.
    pub(super) hurry: Arc<Notify>,
    pub(super) told: watch::Sender<Option<KeySet>>,
}

impl Keeper {
    /// Until the drain. A node alone has nobody to send to.
    pub(super) async fn run(mut self, drain: CancellationToken) {
        while !drain.is_cancelled() {
            let is_member = {
                let peers = self.peers.borrow_and_update();
                !peers.is_alone() && peers.me.is_some()
            };
            let pause = if is_member { self.look().await } else { Duration::MAX };
            let waiting = async {
                sleep(PAUSE).await;
                tokio::select! {
                    changed = self.peers.changed() => changed.is_ok(),
                    () = self.hurry.notified() => true,
                    _elapsed = timeout(pause.saturating_sub(PAUSE), std::future::pending::<()>()) => true,
                }
            };
            tokio::select! {
                () = drain.cancelled() => return,
                goes_on = waiting => if !goes_on { return },
            }
        }
    }

    /// Asks once; answers after what time to ask again.
    async fn look(&self) -> Duration {
        let epoch = self.peers.borrow().cluster.map(|(_, epoch)| epoch);
        let is_of_now = |keys: &&KeySet| epoch.is_some_and(|epoch| keys.is_of(epoch));
        let installed = self.told.borrow().as_ref().filter(is_of_now).map(|keys| keys.newest.number());
        let asked = self.hubs.ask::<SyncKeys>(SyncKeysRequest { installed }).await;
        let keys = match asked.and_then(|reply| KeySet::try_from(&reply)) {
            Ok(keys) => keys,
            Err(failure) => {
                tracing::debug!(reason = %failure, "no keys for datagrams");
                return RETRY;
            }
        };
        let is_settled = keys.is_active && installed == Some(keys.newest.number());
        let is_news = self.told.borrow().as_ref().is_none_or(|known| !known.is_same(&keys));
        if is_news {
            let (newest, seal) = (keys.newest.number(), keys.seal());
            tracing::info!(newest, seal, "the keys for datagrams have changed");
            self.told.send_replace(Some(keys));
        }
        if is_settled { LOOK_EVERY } else { LOOK_OFTEN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(numbers: &[u32], seal: u32) -> SyncKeysReply {
        let key = |number: &u32| SyncKey { number: *number, secret: format!("{number:064x}") };
        SyncKeysReply { keys: numbers.iter().map(key).collect(), seal, epoch: "1-a".to_owned() }
    }

    #[test]
    fn what_is_sealed_with_is_what_the_control_plane_says() {
        for (numbers, seal, sealing) in [(&[4][..], 4, 4), (&[9, 4], 4, 4), (&[9, 4], 9, 9)] {
            let keys = KeySet::try_from(&reply(numbers, seal)).expect("they fit");
            assert_eq!((keys.seal(), keys.ring().newest()), (sealing, numbers[0]));
        }
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        let short = SyncKeysReply { keys: vec![SyncKey { number: 1, secret: "ab".to_owned() }], ..reply(&[1], 1) };
        for bad in [reply(&[], 0), reply(&[4, 9], 9), reply(&[4, 4], 4), reply(&[5, 4, 3], 5), short] {
            KeySet::try_from(&bad).expect_err("they are of no use");
        }
    }
}
