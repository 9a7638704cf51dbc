//! Whether anything can be changed just now, and why not.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use acp_base::Uid;
use acp_io_daemon::Health;
use acp_io_raft::{Role, Status};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{log::Replica, seat::Seat, spread::Spread};

/// How long no leader, or no majority, may be heard before that is said: longer than an election takes.
const UNHEARD_MAX: Duration = Duration::from_secs(3);

/// How often that is looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// Says whether anything can be changed. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Degraded {
    reason: watch::Sender<String>,
}

impl Degraded {
    pub(crate) fn new() -> Self {
        Self { reason: watch::Sender::default() }
    }

    /// Why nothing can be changed; empty when everything can.
    pub(crate) fn reason(&self) -> String {
        self.reason.borrow().clone()
    }

    /// The same, and each change of it.
    pub(crate) fn watch(&self) -> watch::Receiver<String> {
        self.reason.subscribe()
    }

    /// Looks until the drain.
    pub(crate) async fn run(
        self,
        seat: Arc<Seat>,
        replica: Replica,
        spread: Spread,
        health: Health,
        drain: CancellationToken,
    ) {
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = Instant::now();
        let (mut seen, mut status) = (seat.status(), Status::default());
        loop {
            // Another log, or another part in it, is no matter of the next look.
            let other = |now: &Status| now.group != status.group || now.role != status.role;
            tokio::select! {
                () = drain.cancelled() => return,
                _tick = period.tick() => {}
                _other = seen.wait_for(other) => {}
            }
            status = seen.borrow_and_update().clone();
            let reason = match reason(&status, &replica) {
                None => {
                    well = Instant::now();
                    String::new()
                }
                // A failed disk is no matter of patience.
                Some(reason) if matches!(status.role, Role::Failed(_)) || well.elapsed() > UNHEARD_MAX => reason,
                Some(_) => continue,
            };
            health.degrade(lacking(&reason, &spread.strayed()));
            self.say(reason);
        }
    }

    fn say(&self, reason: String) {
        self.reason.send_if_modified(|before| {
            let is_new = *before != reason;
            if is_new {
                match reason.as_str() {
                    "" => tracing::info!("the control plane has its quorum"),
                    reason => tracing::warn!(reason, "nothing can be changed"),
                }
                *before = reason;
            }
            is_new
        });
    }
}

fn lacking(reason: &str, strayed: &BTreeSet<Uid>) -> String {
    match strayed.first() {
        Some(voter) if reason.is_empty() => format!("voter {voter} has come to another state by the same log"),
        _ => reason.to_owned(),
    }
}

fn reason(status: &Status, replica: &Replica) -> Option<String> {
    if let Some(stall) = replica.read(|state| state.stalled().map(ToString::to_string)) {
        return Some(format!("this hub has stopped applying the log: {stall}"));
    }
    // Others have its part: what it has still to be told is nobody's trouble.
    if replica.snapshot().is_dismissed(status) {
        return None;
    }
    let unheard = || status.quorum_heard.is_none_or(|heard| heard.elapsed() > UNHEARD_MAX);
    match &status.role {
        Role::Unfounded | Role::Ended => None,
        Role::Failed(reason) => Some(format!("the log of this hub cannot be used: {reason}")),
        _ if status.leader.is_none() => {
            Some(format!("no leader is known: a majority of {} voters has to be there", status.voters.len()))
        }
        Role::Leader if unheard() => {
            Some(format!("this hub leads, and hears no majority of {} voters", status.voters.len()))
        }
        Role::Follower | Role::Candidate | Role::Learner if unheard() => {
            Some("the leader does not hear a majority of the voters".to_owned())
        }
        _ => None,
    }
}
