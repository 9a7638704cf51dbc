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
use acp_io_raft::Status;
use acp_wire_api::cluster::Checkpoint;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
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

/// How often a voter says how far it is, whatever happens.
const REPORT_PERIOD: Duration = Duration::from_millis(250);

/// The least time between two things that are said: what happens after a rest is said at once, because a write through a node
/// that has no vote waits for it. Each costs a signature, and frames from and to each voter.
const PAUSE: Duration = Duration::from_millis(2);

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

/// Who votes, and who leads them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Quorum {
    leader: Option<Uid>,
    is_led_here: bool,
    voters: BTreeSet<Uid>,
}

impl Quorum {
    /// Waits until it is another one than it was. Cancel-safe.
    async fn becomes_another(&mut self, status: &mut watch::Receiver<Status>) {
        let is_another = |now: &Status| {
            (now.leader, now.is_leader()) != (self.leader, self.is_led_here) || now.voters != self.voters
        };
        let now = status.wait_for(is_another).await.ok().map(|now| Self {
            leader: now.leader,
            is_led_here: now.is_leader(),
            voters: now.voters.clone(),
        });
        match now {
            Some(now) => *self = now,
            // The seat lives as long as this: both end at the drain.
            None => std::future::pending().await,
        }
    }
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

    /// Reports, counts and signs until the drain: as things happen where there are nodes that wait for it, now and then where
    /// all have votes, and follow their own hubs.
    pub(crate) async fn run(self, drain: CancellationToken) {
        let (mut position, mut reported) = (self.shared.replica.position(), self.shared.reported.subscribe());
        let mut status = self.shared.seat.status();
        let mut period = interval(REPORT_PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_due, mut said, mut quorum) = (true, Instant::now(), Quorum::default());
        loop {
            if self.step(&quorum, is_due) {
                said = Instant::now();
            }
            let is_waited_for = self.is_waited_for(&quorum);
            is_due = tokio::select! {
                () = drain.cancelled() => return,
                _changed = position.changed(), if is_waited_for => false,
                _changed = reported.changed(), if is_waited_for => false,
                () = quorum.becomes_another(&mut status) => true,
                _tick = period.tick() => true,
            };
            if !is_due {
                sleep_until(said + PAUSE).await;
            }
            position.mark_unchanged();
            reported.mark_unchanged();
        }
    }

    /// Whether a node has no vote: what it may be sent is up to here.
    fn is_waited_for(&self, quorum: &Quorum) -> bool {
        let snapshot = self.shared.replica.snapshot();
        snapshot.state.members().keys().any(|member| !quorum.voters.contains(member))
    }

    /// Says and counts what is new; what is not new, too, if that is due. Answers whether anything was said.
    fn step(&self, quorum: &Quorum, is_due: bool) -> bool {
        let at = *self.shared.replica.position().borrow();
        let Some(here) = self.shared.replica.here().filter(|_| at.cluster.is_some()) else { return false };
        self.shared.clocks.applied(at.time);
        match quorum.leader {
            leader if quorum.is_led_here || leader == Some(here) => self.count(here, &at, &quorum.voters, is_due),
            Some(leader) => {
                let watchers = self.shared.presence.watchers();
                let (hash, silent_ms) = (at.hash.bytes(), self.shared.presence.silent_ms());
                let report = Report { index: at.index, hash, watchers, silent_ms, time: Some(wall_now()) };
                // With names: who knows fewer fields passes over the others.
                let body = rmp_serde::to_vec_named(&report).expect("numbers and ids can be written");
                self.shared.seat.peers().tell(leader, Kind::Report, body);
                true
            }
            None => false,
        }
    }

    /// At the leader: what a majority has applied, signed and told. Answers whether anything was.
    fn count(&self, here: Uid, at: &Position, voters: &BTreeSet<Uid>, is_due: bool) -> bool {
        let Some((index, hash)) = self.majority(here, at, voters) else { return false };
        let is_known = |held: &Option<Checkpoint>| {
            held.as_ref().is_some_and(|held| held.epoch == at.epoch_text() && held.index >= index)
        };
        let is_new = !is_known(&self.shared.checkpoint.borrow());
        if is_new {
            let Some(checkpoint) = self.sign(at, index, hash) else { return false };
            self.shared.checkpoint.send_replace(Some(checkpoint));
        }
        if !is_new && !is_due {
            return false;
        }
        let Some(checkpoint) = self.shared.checkpoint.borrow().clone() else { return false };
        let body = serde_json::to_vec(&checkpoint).expect("texts and numbers can be written");
        for voter in voters.iter().filter(|voter| **voter != here) {
            self.shared.seat.peers().tell(*voter, Kind::Checkpoint, body.clone());
        }
        true
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
