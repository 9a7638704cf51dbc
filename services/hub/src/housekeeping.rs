//! What happens now and then: what has ended is forgotten, a hub that is no voter any more gives its part up, and a leader
//! that ends gives way.

use std::{sync::Arc, time::Duration};

use acp_base::Uid;
use acp_core_membership::Command;
use acp_io_daemon::wall_now;
use acp_io_raft::Role;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::handlers::{App, membership};

/// How often that is looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// How long what has ended is kept at most before it is forgotten. It does not count for anybody meanwhile.
const PRUNE_PAUSE: Duration = Duration::from_secs(60);

/// How long forgetting may take.
const PRUNE_LIMIT: Duration = Duration::from_secs(10);

/// How long a hub has to be without a part before it gives it up: a voter that is exchanged is none for a moment.
const DISMISSED_MIN: Duration = Duration::from_secs(15);

/// How long no leader, or no majority, may be heard before that means that this hub may have been dismissed.
const UNHEARD_MAX: Duration = Duration::from_secs(3);

/// How long a leader that ends tries to give way: it is silent for a second, so that another one may stand, and asks it to.
const GIVE_WAY_LIMIT: Duration = Duration::from_secs(2);

/// How long another voter may have said nothing to be one that could lead: some heartbeats.
const THERE_MAX: Duration = Duration::from_millis(1_500);

/// How long the log may take to end. What is on disk then is what counts, as after a loss of power.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Looks until the drain.
pub(crate) async fn run(app: Arc<App>) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pruned: Option<Instant> = None;
    let mut dismissed: Option<Instant> = None;
    let mut newest = app.seat.peers().newest_epoch();
    loop {
        tokio::select! {
            () = app.drain.cancelled() => return,
            _tick = period.tick() => {}
            Ok(()) = newest.changed() => {}
        }
        // Whoever is made ready for the later epoch from now on keeps what it is given.
        let (begun, since) = (*newest.borrow_and_update(), Instant::now());
        if app.founding.is_superseded(begun).await {
            tracing::warn!("another epoch has begun elsewhere: this hub gives its part in the ended one up");
            give_up(&app, since).await;
            continue;
        }
        if pruned.is_none_or(|pruned| pruned.elapsed() >= PRUNE_PAUSE) && app.seat.leads() {
            pruned = Some(Instant::now());
            prune(&app).await;
        }
        if app.seat.has_begun().is_err()
            && let Err(reason) = app.founding.resume().await
        {
            tracing::warn!(%reason, "the log could not be begun anew yet");
        }
        let is_dismissed = app.replica.snapshot().is_dismissed(&app.seat.status().borrow());
        if !is_dismissed && !was_dismissed(&app).await {
            dismissed = None;
            continue;
        }
        let since = *dismissed.get_or_insert_with(Instant::now);
        if since.elapsed().min(app.founding.prepared().map_or(Duration::MAX, |at| at.elapsed())) >= DISMISSED_MIN {
            dismissed = None;
            give_up(&app, since).await;
        }
    }
}

async fn prune(app: &App) {
    let due = app.replica.snapshot().state.next_prune_ms();
    if due.is_none_or(|due_ms| wall_now().0 < due_ms) {
        return;
    }
    let ordered = match membership("hub", "", &Command::Prune) {
        Ok(draft) => app.orders.order_one(draft, Instant::now() + PRUNE_LIMIT).await,
        Err(failure) => Err(failure),
    };
    if let Err(reason) = ordered {
        tracing::warn!(%reason, "what has ended cannot be forgotten yet");
    }
}

/// Whether others have this hub's part, if it was away meanwhile, and nobody tells it by the log.
async fn was_dismissed(app: &App) -> bool {
    let is_alone = {
        let status = app.seat.status();
        let status = status.borrow();
        // A leader that sends nothing any more is remembered as the leader.
        let is_unheard = status.quorum_heard.is_none_or(|heard| heard.elapsed() > UNHEARD_MAX);
        let has_no_leader = status.leader.is_none() || is_unheard;
        has_no_leader && matches!(status.role, Role::Follower | Role::Candidate | Role::Learner)
    };
    is_alone && app.founding.was_dismissed().await
}

async fn give_up(app: &App, since: Instant) {
    match app.founding.retire_dismissed(since).await {
        Ok(false) => tracing::info!("this hub was made ready to be a voter again"),
        Ok(true) => tracing::info!("this hub is no voter any more: its log and the authority's key are gone"),
        Err(reason) => tracing::warn!(%reason, "this hub is no voter any more, and could not give up its part"),
    }
}

/// A leader that ends hands the leadership to another voter first, so that nobody waits for an election. Not where no other is
/// there: a whole cluster that is stopped has nobody to hand it to.
pub(crate) async fn give_way(app: &App) {
    let has_other = {
        let (status, here) = (app.seat.status().borrow().clone(), app.replica.here());
        let is_there = |uid: &Uid| status.peers.get(uid).and_then(|peer| peer.heard).map(|heard| heard.elapsed());
        let mut others = status.voters.iter().filter(|uid| Some(**uid) != here);
        others.any(|uid| is_there(uid).is_some_and(|silence| silence < THERE_MAX))
    };
    if app.seat.leads() && has_other {
        match timeout(GIVE_WAY_LIMIT, app.transfer_here(None)).await {
            Ok(Ok(())) => tracing::info!("leadership handed over"),
            Ok(Err(reason)) => tracing::info!(%reason, "leadership could not be handed over"),
            Err(_late) => tracing::info!("leadership was not handed over in time"),
        }
    }
}

/// Ends the log.
pub(crate) async fn end(app: &App) {
    let Some(raft) = app.seat.raft() else { return };
    let began = Instant::now();
    match timeout(END_LIMIT, raft.shutdown()).await {
        Ok(()) => tracing::debug!(took_ms = began.elapsed().as_millis(), "the log has ended"),
        Err(_late) => tracing::warn!("the log has not ended in time, and is left as it is"),
    }
}
