//! What comes from a source, held back until it is proven.
//!
//! A replica's own hub is believed. From any other node nothing is let through but what lies under a checkpoint: of this
//! cluster, of the epoch that the log has there, signed by a controller that is known here, and with the very hash that the
//! chain of what was received has at its index. Whatever a source adds, leaves out, changes or repeats gives another hash.
//!
//! Deliberately not here: sockets, the store, the database; whoever drives this does what it lets through, in order.
//!
//! **Invariants**: what is let through extends what was let through before, without gap; what waits for a checkpoint is
//! bounded; after a refusal nothing of this source is let through any more.

mod assembly;
mod refused;

use std::{cmp::Ordering, collections::VecDeque};

use acp_base::{Uid, from_base64};
use acp_core_cdb::{Hash, State, decode};
use acp_wire_api::cluster::{Checkpoint, FollowReply, FollowRequest};
use acp_wire_model::entry::Action;

use self::assembly::Assembly;
pub(crate) use self::refused::Refused;
use crate::{epoch::Epoch, keys::Keys};

/// Bytes of entries that may wait for a checkpoint: controllers sign several a second, and a busy second is 10 MB.
const PENDING_BYTES_MAX: usize = 32 << 20;

/// Entries that may wait for a checkpoint.
const PENDING_MAX: usize = 65_536;

/// Where a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) cluster: Uid,
    /// None before the first entry of a cluster whose epoch nobody has told.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) index: u64,
    pub(crate) hash: Hash,
}

impl Position {
    /// Before the first entry of a cluster.
    pub(crate) const fn start(cluster: Uid, epoch: Option<Epoch>) -> Self {
        Self { cluster, epoch, index: 0, hash: Hash::ZERO }
    }

    /// Where this state stands; none before its first entry.
    pub(crate) fn of(state: &State) -> Option<Self> {
        let cluster = state.identity()?.cluster;
        Some(Self { cluster, epoch: state.epoch().map(Epoch::from), index: state.index(), hash: state.hash() })
    }

    /// The same for a source. A node on its own goes on with whichever log its hub was given.
    pub(crate) fn request(&self, is_alone: bool) -> FollowRequest {
        FollowRequest {
            cluster: self.cluster,
            epoch: self.epoch.as_ref().map(ToString::to_string).unwrap_or_default(),
            index: self.index,
            hash: self.hash.to_string(),
            any_cluster: is_alone,
        }
    }

    fn epoch_number(&self) -> u64 {
        self.epoch.as_ref().map_or(0, |epoch| epoch.number)
    }
}

/// Whose word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// This node's own hub: everything.
    Own {
        /// Whether this node is in no cluster with others, so that its hub may have been given another one.
        alone: bool,
    },
    /// A controller's hub: what is under a checkpoint, and snapshots.
    Controller,
    /// Any member: entries that are under a checkpoint. No checkpoint vouches for a snapshot's content.
    Neighbour,
}

/// A state that a snapshot holds, with its bytes.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) state: State,
    pub(crate) bytes: Vec<u8>,
}

/// What may be done, in this order.
#[derive(Debug, Default)]
pub(crate) struct Proven {
    /// Takes the place of everything.
    pub(crate) snapshot: Option<Restored>,
    /// Follow what was let through before.
    pub(crate) entries: Vec<Vec<u8>>,
    /// The position after them, vouched for; absent from the own hub if it has signed none.
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// An entry that waits, with the position after it.
#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    hash: Hash,
    epoch: Option<Epoch>,
}

/// One source's stream.
#[derive(Debug)]
pub(crate) struct Intake {
    trust: Trust,
    /// The number of the oldest epoch that is believed.
    floor: u64,
    /// After everything that was let through.
    proven: Position,
    snapshot: Option<Restored>,
    assembly: Assembly,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    awaited: Option<Checkpoint>,
    newest: u64,
}

impl Intake {
    /// A stream that goes on after this position. One that begins a log may begin it in an epoch that is over, as long as it
    /// comes to the position's.
    pub(crate) fn new(trust: Trust, from: Position) -> Self {
        let floor = from.epoch_number();
        let proven = if from.index == 0 { Position { epoch: None, ..from } } else { from };
        Self {
            trust,
            floor,
            proven,
            snapshot: None,
            assembly: Assembly::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            awaited: None,
            newest: 0,
        }
    }

    /// Takes a reply. Answers the bytes of a snapshot that is whole now: they are to be handed back by [`Self::restored`].
    pub(crate) fn take(&mut self, reply: FollowReply) -> Result<Option<Vec<u8>>, Refused> {
        if let Some(checkpoint) = reply.checkpoint {
            self.await_checkpoint(checkpoint)?;
        }
        if let Some(piece) = reply.snapshot {
            if self.trust == Trust::Neighbour {
                return Err(Refused::NeighbourSnapshot);
            }
            if self.snapshot.is_some() || !self.pending.is_empty() || !reply.entries.is_empty() {
                return Err(Refused::Pieces);
            }
            return self.assembly.add(piece);
        }
        if !reply.entries.is_empty() && self.assembly.is_begun() {
            return Err(Refused::Pieces);
        }
        for text in &reply.entries {
            self.push(from_base64(text).ok_or(Refused::Encoding)?)?;
        }
        Ok(None)
    }

    /// The snapshot that was whole holds this state: entries go on from there.
    pub(crate) fn restored(&mut self, restored: Restored) -> Result<(), Refused> {
        let to = Position::of(&restored.state).ok_or(Refused::Encoding)?;
        self.is_forward(&to)?;
        self.snapshot = Some(restored);
        Ok(())
    }

    /// What is proven by now.
    pub(crate) fn release(&mut self, keys: &Keys) -> Result<Proven, Refused> {
        if matches!(self.trust, Trust::Own { .. }) {
            let checkpoint = self.awaited.take();
            return Ok(self.let_through(self.pending.len(), checkpoint));
        }
        let Some(checkpoint) = &self.awaited else { return Ok(Proven::default()) };
        let base = self.base();
        let Some(count) = checkpoint.index.checked_sub(base.index) else {
            // A source that is behind this replica has nothing to say yet.
            self.awaited = None;
            return Ok(Proven::default());
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > self.pending.len() {
            return Ok(Proven::default());
        }
        let (hash, epoch) = match count.checked_sub(1).and_then(|last| self.pending.get(last)) {
            Some(pending) => (pending.hash, &pending.epoch),
            None => (base.hash, &base.epoch),
        };
        let signed = Epoch::parse(&checkpoint.epoch).ok_or(Refused::Encoding)?;
        // A controller that is in a later epoch may sign what lies before the horizon: the hash says that it is this log.
        if let Some(epoch) = epoch.as_ref().filter(|epoch| **epoch != signed && signed.number <= epoch.number) {
            return Err(Refused::Epoch { expected: epoch.to_string(), found: checkpoint.epoch.clone() });
        }
        if hash.to_string() != checkpoint.hash {
            return Err(Refused::Chain { index: checkpoint.index });
        }
        keys.verify(checkpoint)?;
        let checkpoint = self.awaited.take();
        Ok(self.let_through(count, checkpoint))
    }

    /// Whose key is needed for what waits; from the own hub nobody's.
    pub(crate) fn signer(&self) -> Option<Uid> {
        let awaited = self.awaited.as_ref().filter(|_| !matches!(self.trust, Trust::Own { .. }));
        awaited.map(|checkpoint| checkpoint.signer)
    }

    /// A checkpoint counts if it is of this cluster, not of an older epoch, and not older than the last one.
    fn await_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), Refused> {
        let is_ours = checkpoint.cluster == self.proven.cluster || matches!(self.trust, Trust::Own { .. });
        if !is_ours {
            return Err(Refused::Cluster { found: checkpoint.cluster });
        }
        let number = Epoch::parse(&checkpoint.epoch).ok_or(Refused::Encoding)?.number;
        if number < self.floor {
            return Err(Refused::Epoch { expected: self.expected(), found: checkpoint.epoch });
        }
        if checkpoint.index < self.newest {
            return Err(Refused::Replayed { index: checkpoint.index, newest: self.newest });
        }
        self.newest = checkpoint.index;
        self.awaited = Some(checkpoint);
        Ok(())
    }

    fn expected(&self) -> String {
        self.proven.epoch.as_ref().map_or_else(|| format!("{} or later", self.floor), ToString::to_string)
    }

    /// Links an entry to what came before it.
    fn push(&mut self, bytes: Vec<u8>) -> Result<(), Refused> {
        let is_own = matches!(self.trust, Trust::Own { .. });
        if !is_own && (self.pending.len() >= PENDING_MAX || self.pending_bytes + bytes.len() > PENDING_BYTES_MAX) {
            return Err(Refused::Unvouched { entries: self.pending.len() });
        }
        let base = self.base();
        let due = base.index + u64::try_from(self.pending.len()).unwrap_or(u64::MAX) + 1;
        let (hash, epoch) = match self.pending.back() {
            Some(last) => (last.hash, last.epoch.clone()),
            None => (base.hash, base.epoch),
        };
        // What this version cannot read is proven by its hash, and stalls the replica.
        let epoch = match decode(&bytes, due) {
            Ok(entry) if entry.index != due => return Err(Refused::Order { expected: due, found: entry.index }),
            Ok(entry) => {
                let of = Epoch::from(entry.epoch);
                match epoch {
                    Some(epoch) if epoch != of => {
                        return Err(Refused::Epoch { expected: epoch.to_string(), found: of.to_string() });
                    }
                    Some(_) | None => {}
                }
                match entry.action {
                    Action::Horizon { epoch: next, .. } if next.number > of.number => Some(Epoch::from(next)),
                    _ => Some(of),
                }
            }
            Err(_stall) => epoch,
        };
        self.pending_bytes += bytes.len();
        self.pending.push_back(Pending { hash: hash.link(&bytes), bytes, epoch });
        Ok(())
    }

    /// The position that what waits goes on from.
    fn base(&self) -> Position {
        let restored = self.snapshot.as_ref().and_then(|restored| Position::of(&restored.state));
        restored.unwrap_or_else(|| self.proven.clone())
    }

    fn let_through(&mut self, count: usize, checkpoint: Option<Checkpoint>) -> Proven {
        let mut position = self.base();
        let mut entries = Vec::with_capacity(count);
        for pending in self.pending.drain(..count) {
            self.pending_bytes -= pending.bytes.len();
            position = Position { index: position.index + 1, hash: pending.hash, epoch: pending.epoch, ..position };
            entries.push(pending.bytes);
        }
        self.floor = self.floor.max(position.epoch_number());
        self.proven = position;
        Proven { snapshot: self.snapshot.take(), entries, checkpoint }
    }

    /// A snapshot leads forward: in the same epoch to a later entry, or into a later epoch of the same cluster.
    fn is_forward(&self, to: &Position) -> Result<(), Refused> {
        let from = &self.proven;
        if to.cluster != from.cluster {
            return match self.trust {
                Trust::Own { alone: true } => Ok(()),
                Trust::Own { alone: false } | Trust::Controller | Trust::Neighbour => {
                    Err(Refused::Cluster { found: to.cluster })
                }
            };
        }
        let is_forward = match to.epoch_number().cmp(&self.floor) {
            Ordering::Less => false,
            Ordering::Equal => from.epoch.is_none() || from.epoch == to.epoch && to.index >= from.index,
            Ordering::Greater => true,
        };
        if is_forward {
            return Ok(());
        }
        let place = |position: &Position| match &position.epoch {
            Some(epoch) => format!("entry {} of epoch {epoch}", position.index),
            None => format!("entry {}", position.index),
        };
        Err(Refused::Backwards { from: place(from), to: place(to) })
    }
}

#[cfg(test)]
mod tests;
