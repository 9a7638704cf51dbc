//! How far the voters have applied the log, and the signed positions up to which everybody else may be sent it.
//!
//! **Invariant**: nothing leaves the voters that a majority of them has not applied with the same hash. A voter with another
//! hash is said aloud and not counted.

mod belief;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_base::{Uid, WallTime, to_hex};
use acp_core_cdb::{Hash, checkpoint_message};
use acp_io_daemon::wall_now;
use acp_io_pki::CheckpointKey;
use acp_wire_api::cluster::Checkpoint;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::belief::believe;
use crate::{
    clocks::Clocks,
    log::{Position, Replica},
    peers::Kind,
    presence::Presence,
    seat::Seat,
};

/// How often a voter says how far it is when nothing happens; it says so at once when something does.
const REPORT_PERIOD: Duration = Duration::from_millis(500);

/// What a voter tells the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The last index applied.
    pub(crate) index: u64,
    /// The chain's hash there.
    pub(crate) hash: [u8; 32],
    /// Members that watch the directory at this voter's hub.
    pub(crate) watchers: Vec<Uid>,
    /// For how many milliseconds each of those that keep alive has been silent.
    #[serde(default)]
    pub(crate) silent_ms: BTreeMap<Uid, u64>,
    /// What its clock shows.
    #[serde(default)]
    pub(crate) time: Option<WallTime>,
}

/// How far the voters are. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    replica: Replica,
    seat: Arc<Seat>,
    presence: Presence,
    clocks: Clocks,
    key: Arc<CheckpointKey>,
    /// At the leader: what the other voters have applied.
    applied: Mutex<BTreeMap<Uid, (u64, Hash)>>,
    /// Voters whose state is another one.
    strayed: Mutex<BTreeSet<Uid>>,
    checkpoint: watch::Sender<Option<Checkpoint>>,
    /// Something was reported.
    reported: watch::Sender<u64>,
}

impl Spread {
    pub(crate) fn new(
        replica: Replica,
        seat: Arc<Seat>,
        presence: Presence,
        clocks: Clocks,
        key: Arc<CheckpointKey>,
    ) -> Self {
        let shared = Shared {
            replica,
            seat,
            presence,
            clocks,
            key,
            applied: Mutex::default(),
            strayed: Mutex::default(),
            checkpoint: watch::Sender::default(),
            reported: watch::Sender::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The newest position that a majority has applied, and each newer one.
    pub(crate) fn checkpoint(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.shared.checkpoint.subscribe()
    }

    /// Voters whose state is another one than the leader's.
    pub(crate) fn strayed(&self) -> BTreeSet<Uid> {
        self.shared.strayed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Vouches for a position that is not after the newest checkpoint.
    pub(crate) fn vouch(&self, index: u64, hash: Hash) -> Option<Checkpoint> {
        self.sign(&self.shared.replica.position().borrow(), index, hash)
    }

    /// A voter says how far it is.
    pub(crate) fn report(&self, from: Uid, report: Report) {
        self.applied().insert(from, (report.index, Hash::from_bytes(report.hash)));
        self.shared.presence.reported(from, &report.watchers, &report.silent_ms);
        if let Some(time) = report.time {
            self.shared.clocks.told(from, time);
        }
        self.shared.reported.send_modify(|count| *count += 1);
    }

    /// Another controller vouches for a position.
    pub(crate) fn hear(&self, checkpoint: Checkpoint) {
        let (at, snapshot) = (*self.shared.replica.position().borrow(), self.shared.replica.snapshot());
        let ours = self.shared.replica.hash_at(checkpoint.index);
        if let Err(reason) = believe(&checkpoint, &at, &snapshot.state, ours) {
            return tracing::warn!(signer = %checkpoint.signer, index = checkpoint.index, reason, "a checkpoint is not believed");
        }
        let is_newer = |held: &Option<Checkpoint>| {
            held.as_ref().is_none_or(|held| held.epoch != checkpoint.epoch || held.index < checkpoint.index)
        };
        self.shared.checkpoint.send_if_modified(|held| {
            let take = is_newer(held);
            if take {
                *held = Some(checkpoint.clone());
            }
            take
        });
    }

    /// Reports, counts and signs until the drain.
    pub(crate) async fn run(self, drain: CancellationToken) {
        let (mut position, mut reported) = (self.shared.replica.position(), self.shared.reported.subscribe());
        let mut status = self.shared.seat.status();
        let mut period = interval(REPORT_PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_due = true;
        loop {
            self.step(is_due);
            is_due = tokio::select! {
                () = drain.cancelled() => return,
                _changed = position.changed() => false,
                _changed = reported.changed() => false,
                _changed = status.changed() => true,
                _tick = period.tick() => true,
            };
            position.mark_unchanged();
            reported.mark_unchanged();
            status.mark_unchanged();
        }
    }

    /// Says and counts what is new; what is not new, too, if that is due.
    fn step(&self, is_due: bool) {
        let at = *self.shared.replica.position().borrow();
        let Some(here) = self.shared.replica.here().filter(|_| at.cluster.is_some()) else { return };
        self.shared.clocks.applied(at.time);
        let (leader, voters) = {
            let status = self.shared.seat.status();
            let status = status.borrow();
            (if status.is_leader() { Some(here) } else { status.leader }, status.voters.clone())
        };
        match leader {
            Some(leader) if leader == here => self.count(here, &at, &voters, is_due),
            Some(leader) => {
                let watchers = self.shared.presence.watchers();
                let (hash, silent_ms) = (at.hash.bytes(), self.shared.presence.silent_ms());
                let report = Report { index: at.index, hash, watchers, silent_ms, time: Some(wall_now()) };
                // With names: who knows fewer fields passes over the others.
                let body = rmp_serde::to_vec_named(&report).expect("numbers and ids can be written");
                self.shared.seat.peers().tell(leader, Kind::Report, body);
            }
            None => {}
        }
    }

    /// At the leader: what a majority has applied, signed and told.
    fn count(&self, here: Uid, at: &Position, voters: &BTreeSet<Uid>, is_due: bool) {
        let Some((index, hash)) = self.majority(here, at, voters) else { return };
        let is_known = |held: &Option<Checkpoint>| {
            held.as_ref().is_some_and(|held| held.epoch == at.epoch_text() && held.index >= index)
        };
        let is_new = !is_known(&self.shared.checkpoint.borrow());
        if is_new {
            let Some(checkpoint) = self.sign(at, index, hash) else { return };
            self.shared.checkpoint.send_replace(Some(checkpoint));
        }
        if !is_new && !is_due {
            return;
        }
        let Some(checkpoint) = self.shared.checkpoint.borrow().clone() else { return };
        let body = serde_json::to_vec(&checkpoint).expect("texts and numbers can be written");
        for voter in voters.iter().filter(|voter| **voter != here) {
            self.shared.seat.peers().tell(*voter, Kind::Checkpoint, body.clone());
        }
    }

    fn majority(&self, here: Uid, at: &Position, voters: &BTreeSet<Uid>) -> Option<(u64, Hash)> {
        let mut applied = self.applied();
        applied.retain(|uid, _| voters.contains(uid));
        let strayed: BTreeSet<Uid> = applied
            .iter()
            .filter(|(_, (index, hash))| self.shared.replica.hash_at(*index).is_some_and(|ours| ours != *hash))
            .map(|(uid, _)| *uid)
            .collect();
        let counted = applied.iter().filter(|(uid, _)| !strayed.contains(uid)).map(|(_, (index, _))| *index);
        let own = voters.contains(&here).then_some(at.index);
        let mut indices: Vec<u64> = counted.chain(own).map(|index| index.min(at.index)).collect();
        indices.sort_unstable_by(|a, b| b.cmp(a));
        let index = *indices.get(voters.len() / 2)?;
        drop(applied);
        self.say(strayed);
        self.shared.replica.hash_at(index).map(|hash| (index, hash))
    }

    fn say(&self, strayed: BTreeSet<Uid>) {
        let mut known = self.shared.strayed.lock().unwrap_or_else(PoisonError::into_inner);
        for voter in strayed.difference(&known) {
            tracing::error!(%voter, "a voter has come to another state by the same log: it is not counted");
        }
        *known = strayed;
    }

    fn sign(&self, at: &Position, index: u64, hash: Hash) -> Option<Checkpoint> {
        let unsigned = Checkpoint {
            cluster: at.cluster?,
            epoch: at.epoch_text(),
            index,
            hash: to_hex(&hash.bytes()),
            signer: self.shared.replica.here()?,
            signature: String::new(),
        };
        match self.shared.key.sign(&message(&unsigned)) {
            Ok(signature) => Some(Checkpoint { signature, ..unsigned }),
            Err(error) => {
                tracing::error!(reason = acp_base::sentence(&error), "a checkpoint cannot be signed");
                None
            }
        }
    }

    fn applied(&self) -> MutexGuard<'_, BTreeMap<Uid, (u64, Hash)>> {
        self.shared.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is signed.
fn message(checkpoint: &Checkpoint) -> Vec<u8> {
    checkpoint_message(checkpoint)
}
