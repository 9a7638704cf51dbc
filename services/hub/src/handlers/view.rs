//! The nodes as the control plane sees them: listed, and told as they change.
//!
//! Only the leader hears of every node that is online. A hub that does not lead asks it, once for all who watch here.

use std::{sync::Arc, time::Duration};

use acp_base::Failure;
use acp_core_membership::Filter;
use acp_io_daemon::{Call, Sink};
use acp_wire_api::hub as api;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::App;
use crate::{
    ask::{Answer, Ask},
    sight::{Told, verdict},
    snapshot::Snapshot,
};

/// How long the leader is asked who is there before this hub says what it knows itself.
const LIST_LIMIT: Duration = Duration::from_secs(1);

/// The same for a watch, which asks again soon.
const WATCH_LIMIT: Duration = Duration::from_millis(500);

/// How often a watch looks who is there. What the log says is looked at as soon as it changes.
const PERIOD: Duration = Duration::from_millis(500);

/// After which silence a sign of life is due. The interface promises 2 seconds: with the next look and the leader's time to
/// answer it is less.
const HEARTBEAT: Duration = Duration::from_millis(900);

pub(super) async fn list(app: Arc<App>, call: Call<api::ListNodes>) -> Result<api::ListNodesReply, Failure> {
    let snapshot = app.snapshot();
    let mut reply = app.look(&snapshot, LIST_LIMIT).await?;
    if call.request != api::NodeFilter::default() {
        let directory = snapshot.directory()?;
        let filter = checked(call.request, directory)?;
        reply.nodes.retain(|node| filter.holds(node, directory));
    }
    Ok(reply)
}

/// Tells the nodes as they are, and then what differs from what was told last, until the caller is gone. While it reads nothing
/// is looked at, so whoever reads slowly is told the newest state and nothing is kept for it.
pub(super) async fn watch(
    app: Arc<App>,
    call: Call<api::WatchNodes>,
    sink: Sink<api::WatchNodes>,
) -> Result<api::WatchNodesReply, Failure> {
    let mut snapshots = app.replica.snapshots();
    let filter = checked(call.request, snapshots.borrow().directory()?)?;
    let mut told = Told::new(filter);
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = Instant::now();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let directory = snapshot.directory()?;
        let seen = app.sight.newest(directory.revision, app.look(&snapshot, WATCH_LIMIT)).await?;
        let reply = told.next(&seen, directory, Instant::now());
        if reply.current || !reply.events.is_empty() || said.elapsed() >= HEARTBEAT {
            sink.send(reply).await?;
            said = Instant::now();
        }
        tokio::select! {
            changed = snapshots.changed() => changed.map_err(|_gone| Failure::unavailable("the hub is ending"))?,
            _tick = period.tick() => {}
        }
    }
}

fn checked(asked: api::NodeFilter, directory: &api::Directory) -> Result<Filter, Failure> {
    Filter::new(asked, directory).map_err(|error| Failure::new(error.code(), error.to_string()))
}

impl App {
    /// All members as the leader sees them; as this hub does, if the leader does not answer in time.
    async fn look(&self, snapshot: &Snapshot, limit: Duration) -> Result<api::ListNodesReply, Failure> {
        let leader = self.seat.status().borrow().leader;
        if let Some(leader) = leader.filter(|leader| Some(*leader) != self.replica.here()) {
            let asked = self.seat.peers().ask(leader, &Ask::Nodes, Instant::now() + limit).await;
            if let Ok(Answer::Nodes(reply)) = asked {
                return Ok(reply);
            }
        }
        self.nodes(snapshot)
    }

    /// The members as this hub knows them. Only the leader hears of every watch.
    pub(super) fn nodes(&self, snapshot: &Snapshot) -> Result<api::ListNodesReply, Failure> {
        let directory = snapshot.directory()?;
        let nodes = directory.nodes.iter().map(|node| {
            let (online, for_ms) = self.presence.of(node.uid);
            let judged = self.verdicts.of(node.uid, |uid| self.called(uid)).filter(|_| !node.parked);
            api::NodePresence { node: node.clone(), online, verdict: verdict(node.parked, online), judged, for_ms }
        });
        let age_ms = if self.seat.leads() { 0 } else { self.unheard_ms() };
        Ok(api::ListNodesReply {
            revision: directory.revision,
            nodes: nodes.collect(),
            age_ms,
            degraded: self.degraded.reason(),
        })
    }

    /// How long ago a majority was last heard, in milliseconds.
    fn unheard_ms(&self) -> u64 {
        let heard = self.seat.status().borrow().quorum_heard;
        heard.map_or(u64::MAX, |heard| u64::try_from(heard.elapsed().as_millis()).unwrap_or(u64::MAX)).max(1)
    }
}
