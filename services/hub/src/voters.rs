//! Makes the voters those that the policy wants. A reconciler of the leader: it looks each second, and takes one step.

mod forgetful;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use acp_base::{Failure, Name, Uid, sentence};
use acp_core_membership::{
    Command,
    voters::{AWAY_MAX_MS, Candidate, Step, View, plan},
};
use acp_io_client::Client;
use acp_io_pki::Authority;
use acp_io_raft::{Former, Status};
use acp_wire_api::hub::{Prepare, PrepareRequest};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::forgetful::Forgetful;
use crate::{
    error::pki_failure,
    handlers::membership,
    log::Replica,
    orders::Orders,
    presence::Presence,
    seat::{Seat, blocking, no_log},
    snapshot::Snapshot,
};

/// How often the leader looks.
const PERIOD: Duration = Duration::from_secs(1);

/// The pause after a step: what it has changed is seen by then, and the next one need not wait for longer.
const STEP_PAUSE: Duration = Duration::from_millis(100);

/// How long a step may take. A learner is sent the whole state.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// How long preparing may take.
const PREPARE_LIMIT: Duration = Duration::from_secs(10);

/// How long a voter is heard at least once, unless it is away.
const UNHEARD_MAX: Duration = Duration::from_secs(3);

/// How long a hub that was dismissed is sent the log at least: that what it has is settled comes with the next word.
const HEARING_MIN: Duration = Duration::from_secs(3);

/// How long at most, if it is there and slow.
const HEARING_MAX: Duration = Duration::from_secs(15);

/// How long a step that fails is tried again, each second: a hub that starts, or has yet to leave another log, passes soon, and
/// others need not be moved for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a member is passed over then, so that another one can be made a voter.
const PASSED_OVER: Duration = Duration::from_secs(30);

/// Makes the voters those that the policy wants.
#[derive(Debug)]
pub(crate) struct Reconciler {
    seat: Arc<Seat>,
    orders: Orders,
    replica: Replica,
    presence: Presence,
    client: Client,
    /// Since when this hub leads: whoever was not heard since was not heard for that long.
    leads_since: Option<Instant>,
    /// Who could not be made a voter.
    failed: BTreeMap<Uid, Failed>,
    /// Voters that have lost their log.
    forgetful: Forgetful,
    /// Who is a controller no more and is sent the log until it has heard so.
    dismissed: BTreeMap<Uid, Dismissed>,
}

/// A member with which no step succeeds.
#[derive(Clone, Copy, Debug)]
struct Failed {
    /// When the first one was begun.
    since: Instant,
    /// When the last one had failed.
    last: Instant,
}

impl Failed {
    fn is_passed_over(self) -> bool {
        self.last.duration_since(self.since) >= PATIENCE
    }
}

/// A dismissal that was ordered.
#[derive(Clone, Copy, Debug)]
struct Dismissed {
    since: Instant,
    /// Where the log ended then.
    index: u64,
}

impl Reconciler {
    pub(crate) fn new(seat: Arc<Seat>, orders: Orders, replica: Replica, presence: Presence, client: Client) -> Self {
        let (failed, forgetful, dismissed) = (BTreeMap::new(), Forgetful::default(), BTreeMap::new());
        Self { seat, orders, replica, presence, client, leads_since: None, failed, forgetful, dismissed }
    }

    /// Runs until the drain.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                _tick = period.tick() => {}
            }
            let work = timeout(STEP_LIMIT, self.look());
            tokio::select! {
                () = drain.cancelled() => return,
                done = work => match done {
                    Ok(true) => period.reset_after(STEP_PAUSE),
                    Ok(false) => {}
                    Err(_late) => tracing::warn!("a change of the voters takes too long"),
                },
            }
        }
    }

    /// Takes a step if one is due; answers whether it was taken.
    async fn look(&mut self) -> bool {
        let snapshot = self.replica.snapshot();
        let status = self.seat.status().borrow().clone();
        self.seat.peers().keep(|peer| snapshot.is_controller(peer) || status.learners.contains(&peer));
        self.keep_ways(&status);
        self.presence.keep(&snapshot.state);
        self.dismissed.retain(|uid, _| status.is_leader() && status.learners.contains(uid));
        let Some(here) = self.replica.here().filter(|_| status.is_leader()) else {
            self.leads_since = None;
            return false;
        };
        self.leads_since.get_or_insert_with(Instant::now);
        if snapshot.state.founded().is_none() {
            return false;
        }
        self.failed.retain(|_, failed| failed.last.elapsed() < PASSED_OVER);
        let unheard = self.unheard(here, &status, &snapshot);
        self.forgetful.ask(&self.client, &unheard).await;
        let step = plan(&self.view(here, &status, &snapshot));
        let concerned = match &step {
            Step::Nothing => return false,
            Step::Dismiss(uid) if self.has_to_hear(*uid, &status) => return false,
            Step::Prepare(uid) | Step::AddLearner(uid) | Step::Dismiss(uid) => Some(*uid),
            Step::SetVoters(_) => None,
        };
        let begun = Instant::now();
        match self.take(step.clone(), &snapshot, &status).await {
            Ok(()) => {
                tracing::info!(?step, "the voters change");
                concerned.map(|uid| self.failed.remove(&uid));
                true
            }
            Err(failure) => {
                tracing::warn!(?step, reason = %failure, "the voters could not be changed");
                if let Some(uid) = concerned {
                    let failed = self.failed.entry(uid).or_insert(Failed { since: begun, last: begun });
                    failed.last = Instant::now();
                }
                false
            }
        }
    }

    /// A voter that has to stand for election asks all others at once: there is no time to dial then.
    fn keep_ways(&self, status: &Status) {
        let Some(here) = self.replica.here().filter(|here| status.voters.contains(here)) else { return };
        status.voters.iter().filter(|voter| **voter != here).for_each(|voter| self.seat.peers().open(*voter));
    }

    fn view(&self, here: Uid, status: &Status, snapshot: &Snapshot) -> View {
        let candidate = |uid: Uid, member: &acp_core_membership::Member| {
            let (online, for_ms) = self.online(uid, status);
            Candidate {
                parked: member.parked,
                online: (online && !self.failed.get(&uid).is_some_and(|failed| failed.is_passed_over())) || uid == here,
                for_ms,
                prepared: member.controller && !member.checkpoint_key.is_empty(),
            }
        };
        let members = snapshot.state.members().iter().map(|(uid, member)| (*uid, candidate(*uid, member)));
        let matched = |uid: &Uid| status.peers.get(uid).map_or(0, |peer| peer.matched);
        let learners = status.learners.iter().map(|uid| (*uid, status.last_index.saturating_sub(matched(uid))));
        View {
            wanted: snapshot.state.voters_wanted(),
            leader: here,
            members: members.collect(),
            voters: status.voters.clone(),
            forgetful: self.forgetful.found().clone(),
            learners: learners.collect(),
        }
    }

    /// The other voters that have not been heard for long although their nodes watch the directory.
    fn unheard(&self, here: Uid, status: &Status, snapshot: &Snapshot) -> BTreeMap<Uid, Name> {
        let is_unheard = |uid: &Uid| {
            let (online, for_ms) = self.online(*uid, status);
            *uid != here && !online && for_ms >= AWAY_MAX_MS && self.presence.of(*uid).0
        };
        let members = snapshot.state.members();
        let named = |uid: Uid| members.get(&uid).map(|member| (uid, member.name.clone()));
        status.voters.iter().copied().filter(is_unheard).filter_map(named).collect()
    }

    /// Whether a member is there, and for how many milliseconds that has been so. Voters answer the log's replication, whatever
    /// else of their nodes lives.
    fn online(&self, uid: Uid, status: &Status) -> (bool, u64) {
        if status.voters.contains(&uid) {
            let heard = status.peers.get(&uid).and_then(|peer| peer.heard);
            let silence = heard.map_or_else(|| self.leading(), |heard| heard.elapsed());
            return (heard.is_some() && silence < UNHEARD_MAX, millis(silence));
        }
        let (online, for_ms) = self.presence.of(uid);
        (online, for_ms.unwrap_or_else(|| millis(self.leading())))
    }

    /// How long this hub has led.
    fn leading(&self) -> Duration {
        self.leads_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    async fn take(&mut self, step: Step, snapshot: &Snapshot, status: &Status) -> Result<(), Failure> {
        let raft = self.seat.raft().ok_or_else(no_log)?;
        let unchanged = |error| Failure::unavailable(sentence(&error));
        match step {
            Step::Nothing => Ok(()),
            Step::Prepare(uid) => {
                let checkpoint_key = Some(self.prepare(uid, snapshot).await?);
                self.order(&Command::SetController { node: uid, checkpoint_key }).await
            }
            Step::AddLearner(uid) => {
                // Whoever was prepared by an earlier leader may have lost what it got since, and its own key with it.
                let key = self.prepare(uid, snapshot).await?;
                if snapshot.state.members().get(&uid).is_none_or(|member| member.checkpoint_key != key) {
                    self.order(&Command::SetController { node: uid, checkpoint_key: Some(key) }).await?;
                }
                raft.add_learner(uid).await.map_err(unchanged)
            }
            Step::SetVoters(voters) => self.set_voters(voters, snapshot, status).await,
            Step::Dismiss(uid) => self.dismiss(uid, status).await,
        }
    }

    /// Hands over the authority; answers the checkpoint key.
    async fn prepare(&self, uid: Uid, snapshot: &Snapshot) -> Result<String, Failure> {
        let gone = || Failure::not_found("it is no member any more");
        let name = &snapshot.state.members().get(&uid).ok_or_else(gone)?.name;
        let directory = self.seat.directory();
        let authority = blocking(move || Authority::export(&directory)).await?;
        let authority = authority.map_err(|error| pki_failure(&error))?;
        let at = *self.replica.position().borrow();
        let request = PrepareRequest {
            cluster: at.cluster.ok_or_else(no_log)?,
            epoch: at.epoch_text(),
            node: uid,
            authority: authority.ok_or_else(|| Failure::precondition("the authority's key is not here"))?,
        };
        let hub = self.client.on(Some(name)).service("hub").deadline(PREPARE_LIMIT);
        hub.call::<Prepare>(request).await.map(|reply| reply.checkpoint_key)
    }

    /// A member that votes no more is sent the log until it has heard so. Whoever is lost is not: it may come back without its log.
    async fn set_voters(&self, voters: BTreeSet<Uid>, snapshot: &Snapshot, status: &Status) -> Result<(), Failure> {
        let raft = self.seat.raft().ok_or_else(no_log)?;
        let unchanged = |error| Failure::unavailable(sentence(&error));
        let is_there = |uid: &Uid| snapshot.state.members().contains_key(uid) && self.online(*uid, status).0;
        let (there, lost): (BTreeSet<Uid>, BTreeSet<Uid>) =
            status.voters.difference(&voters).copied().partition(is_there);
        if !lost.is_empty() {
            raft.set_voters(voters.union(&there).copied().collect(), Former::Gone).await.map_err(unchanged)?;
        }
        if lost.is_empty() || !there.is_empty() {
            raft.set_voters(voters, Former::Learner).await.map_err(unchanged)?;
        }
        Ok(())
    }

    /// Whether a hub that was dismissed is there and has not heard so yet, or not that it is settled: it gives up its part by
    /// itself when it has.
    fn has_to_hear(&self, uid: Uid, status: &Status) -> bool {
        let Some(Dismissed { since, index }) = self.dismissed.get(&uid) else { return false };
        let peer = status.peers.get(&uid);
        let is_there = peer.and_then(|peer| peer.heard).is_some_and(|heard| heard.elapsed() < UNHEARD_MAX);
        let has_it = peer.is_some_and(|peer| peer.matched >= *index);
        since.elapsed() < if is_there && !has_it { HEARING_MAX } else { HEARING_MIN }
    }

    /// It is a controller no more, and when it has heard so, it is not sent the log any more.
    async fn dismiss(&mut self, uid: Uid, status: &Status) -> Result<(), Failure> {
        if self.replica.snapshot().is_controller(uid) {
            self.order(&Command::SetController { node: uid, checkpoint_key: None }).await?;
            let index = self.seat.status().borrow().last_index;
            self.dismissed.insert(uid, Dismissed { since: Instant::now(), index });
            return Ok(());
        }
        if status.learners.contains(&uid) {
            let raft = self.seat.raft().ok_or_else(no_log)?;
            let removed = raft.remove_learners(BTreeSet::from([uid])).await;
            removed.map_err(|error| Failure::unavailable(sentence(&error)))?;
        }
        Ok(())
    }

    async fn order(&self, command: &Command) -> Result<(), Failure> {
        let draft = membership("hub", "", command)?;
        self.orders.order_one(draft, Instant::now() + PREPARE_LIMIT).await.map(drop)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
