//! The state of everything, as Raft drives it and as everybody else here reads it.
//!
//! **Invariant**: what readers see is what a committed batch has left; a batch is applied whole or, if it is not the next one,
//! not at all.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use acp_base::{EpochId, Uid, WallTime};
use acp_core_cdb::{Hash, Outcome, Refusal, State, decode};
use acp_io_pki::Authority;
use acp_io_raft::Machine;
use acp_wire_model::entry::Action;
use tokio::sync::watch;

use super::{
    Page,
    batch::{Batch, Blob},
    image,
    recent::Recent,
};
use crate::{metrics, snapshot::Snapshot};

/// Where the state stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last index applied.
    pub(crate) index: u64,
    /// The chain's hash there.
    pub(crate) hash: Hash,
    /// When the entry there was ordered.
    pub(crate) time: WallTime,
    /// The cluster; none before the first entry.
    pub(crate) cluster: Option<Uid>,
    /// The epoch; none before the first entry.
    pub(crate) epoch: Option<EpochId>,
}

impl Position {
    fn of(state: &State) -> Self {
        Self {
            index: state.index(),
            hash: state.hash(),
            time: state.time(),
            cluster: state.identity().map(|identity| identity.cluster),
            epoch: state.epoch(),
        }
    }

    /// `<number>-<id>`; empty before the first entry.
    pub(crate) fn epoch_text(&self) -> String {
        self.epoch.map(|epoch| epoch.to_string()).unwrap_or_default()
    }
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    /// Its index.
    pub(crate) index: u64,
    /// Why it was decided against, if so.
    pub(crate) refused: Option<Refusal>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Applied {
    /// Every entry was decided.
    Decided(Vec<Decision>),
    /// It was not the next one, and changed nothing.
    Void,
    /// The replica does not go on, for this reason. Nothing of the batch from there on counts.
    Stalled(String),
}

#[derive(Debug)]
struct Held {
    state: State,
    recent: Recent,
}

impl Default for Held {
    fn default() -> Self {
        Self { state: State::default(), recent: Recent::after(0, Hash::ZERO) }
    }
}

/// The state, for everybody who reads it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    held: RwLock<Held>,
    authority: RwLock<Option<Arc<Authority>>>,
    here: RwLock<Option<Uid>>,
    position: watch::Sender<Position>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Replica {
    /// A state before the first entry.
    pub(crate) fn new() -> Self {
        let held = Held::default();
        let shared = Shared {
            position: watch::Sender::new(Position::of(&held.state)),
            held: RwLock::new(held),
            authority: RwLock::default(),
            here: RwLock::default(),
            snapshots: watch::Sender::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The machine that Raft drives.
    pub(crate) fn machine(&self) -> Log {
        Log(self.clone())
    }

    /// Reads the state; whoever reads holds up the log and is to be quick.
    pub(crate) fn read<T>(&self, reader: impl FnOnce(&State) -> T) -> T {
        reader(&self.held().state)
    }

    /// Where it stands, and each newer position.
    pub(crate) fn position(&self) -> watch::Receiver<Position> {
        self.shared.position.subscribe()
    }

    /// The membership, and each newer one.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.snapshots.subscribe()
    }

    /// The membership as it is now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.snapshots.borrow())
    }

    /// This node, once that is known.
    pub(crate) fn here(&self) -> Option<Uid> {
        *self.shared.here.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which node this is.
    pub(crate) fn set_here(&self, node: Uid) {
        *self.shared.here.write().unwrap_or_else(PoisonError::into_inner) = Some(node);
        self.publish(&self.held(), true);
    }

    /// Who signs, if this hub can.
    pub(crate) fn authority(&self) -> Option<Arc<Authority>> {
        self.shared.authority.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says who signs from now on.
    pub(crate) fn set_authority(&self, authority: Option<Arc<Authority>>) {
        *self.shared.authority.write().unwrap_or_else(PoisonError::into_inner) = authority;
        self.publish(&self.held(), true);
    }

    /// The chain's hash at an index, if that is remembered.
    pub(crate) fn hash_at(&self, index: u64) -> Option<Hash> {
        self.held().recent.hash_at(index)
    }

    /// Entries after an index, up to another one; none if they are not remembered.
    pub(crate) fn page(&self, after: u64, up_to: u64) -> Option<Page> {
        self.held().recent.page(after, up_to)
    }

    /// Forgets everything: this hub has no part in any log.
    pub(crate) fn clear(&self) {
        let mut held = self.held_mut();
        *held = Held::default();
        self.publish(&held, true);
    }

    /// The bytes with which a voter's log begins that has this state, which is given encoded.
    pub(crate) fn founding_image(state: Vec<u8>) -> Vec<u8> {
        image::of_state(state)
    }

    fn publish(&self, held: &Held, members_changed: bool) {
        if members_changed {
            let directory = held.state.directory();
            let snapshot = Snapshot::new(held.state.members().clone(), directory, self.authority(), self.here());
            metrics::describe(&snapshot.state);
            self.shared.snapshots.send_replace(Arc::new(snapshot));
        }
        self.shared.position.send_replace(Position::of(&held.state));
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.shared.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, Held> {
        self.shared.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state as Raft drives it.
#[derive(Debug)]
pub(crate) struct Log(Replica);

impl Machine for Log {
    type Answer = Applied;

    fn apply(&mut self, command: &[u8]) -> Applied {
        let batch = match Batch::decode(command) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "a command of the log is no batch of entries");
                return Applied::Void;
            }
        };
        let mut held = self.0.held_mut();
        if held.state.index() + 1 != batch.first {
            tracing::info!(first = batch.first, applied = held.state.index(), "a batch came too late and is void");
            return Applied::Void;
        }
        let before = held.state.epoch();
        let (applied, members_changed) = held.apply(batch.entries);
        let members_changed = members_changed || held.state.epoch() != before;
        self.0.publish(&held, members_changed);
        applied
    }

    fn image(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let held = self.0.held();
        let (state, carried) = (held.state.image(), held.recent.carried());
        Box::new(move || image::encode(state, carried))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (state, recent) = image::decode(bytes)?;
        let mut held = self.0.held_mut();
        *held = Held { state, recent };
        self.0.publish(&held, true);
        Ok(())
    }
}

impl Held {
    /// Applies the entries; answers with it whether one of them was of the membership.
    fn apply(&mut self, entries: Vec<Blob>) -> (Applied, bool) {
        let mut decisions = Vec::with_capacity(entries.len());
        let mut members_changed = false;
        for Blob(bytes) in entries {
            members_changed |= is_of_membership(&bytes, self.state.index() + 1);
            let refused = match self.state.apply(&bytes) {
                Outcome::Done(_done) => None,
                Outcome::Refused(refusal) => Some(refusal),
                Outcome::Stalled(stall) => {
                    tracing::error!(reason = %stall, "this hub does not go on with the log");
                    return (Applied::Stalled(stall.to_string()), members_changed);
                }
            };
            self.recent.push(bytes, self.state.hash());
            decisions.push(Decision { index: self.state.index(), refused });
        }
        (Applied::Decided(decisions), members_changed)
    }
}

/// Whether the entry with these bytes is one of the membership.
fn is_of_membership(bytes: &[u8], due: u64) -> bool {
    decode(bytes, due).is_ok_and(|entry| matches!(entry.action, Action::Membership { .. }))
}
