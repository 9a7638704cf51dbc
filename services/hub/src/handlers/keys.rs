//! The group keys, kept: the leader makes and turns them, other hubs ask it for them, members get them from any hub.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use acp_base::{BootInstant, Failure, Uid};
use acp_io_daemon::{Call, boot_now};
use acp_wire_api::hub as api;
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use super::App;
use crate::{
    ask::{Answer, Ask},
    keys::{Kept, Keys, Step},
};

/// How long a new leader waits for what the other voters' hubs keep: several round trips, and shorter than a node's patience.
const GATHER_LIMIT: Duration = Duration::from_secs(1);

/// How long the leader is asked before this hub answers with what it keeps.
const LEADER_LIMIT: Duration = Duration::from_secs(2);

/// How often a hub that does not lead asks the leader, so that it can go on with the same keys.
const REFRESH: Duration = Duration::from_secs(5);

/// The pause after a step that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The keys that this hub knows.
#[derive(Debug)]
pub(crate) struct Keyring {
    keys: Mutex<Keys>,
    /// Something has changed: there are keys, or a member has said what it has.
    news: watch::Sender<()>,
}

impl Default for Keyring {
    fn default() -> Self {
        Self { keys: Mutex::new(Keys::new(boot_now())), news: watch::Sender::default() }
    }
}

pub(super) async fn sync(app: Arc<App>, call: Call<api::SyncKeys>) -> Result<api::SyncKeysReply, Failure> {
    let (node, installed) = (app.member(&call.caller)?, call.request.installed);
    let deadline = call.context.deadline.min(Instant::now() + LEADER_LIMIT);
    let ask = Ask::SyncKeys { node, installed };
    let failure = match app.pass_on(ask, deadline).await {
        Ok(Answer::Keys(kept)) => {
            app.keys.follow(&app, &kept).await;
            return Ok(kept.reply());
        }
        Ok(_other) => Failure::internal("the leader's hub answered something else"),
        Err(failure) => failure,
    };
    // Members agree meanwhile with what they have.
    let kept = app.keys.kept(&app).await;
    if kept.keys.is_empty() { Err(failure) } else { Ok(kept.reply()) }
}

impl App {
    /// As the leader: what a member is told that has said what it has. Waits until a new leader has keys.
    pub(super) async fn keys_for(&self, node: Uid, installed: Option<u32>) -> Result<Kept, Failure> {
        if !self.snapshot().state.members().contains_key(&node) {
            return Err(Failure::new(acp_base::Code::PermissionDenied, format!("node {node} is no member")));
        }
        let deadline = Instant::now() + LEADER_LIMIT;
        let mut news = self.keys.news.subscribe();
        if let Some(installed) = installed
            && self.keys.keys.lock().await.installed(node, installed)
        {
            self.keys.news.send_replace(());
        }
        loop {
            let kept = self.keys.kept(self).await;
            if !kept.keys.is_empty() {
                return Ok(kept);
            }
            let none = || Failure::unavailable("there are no keys yet: the leader asks the other voters for theirs");
            drop(timeout_at(deadline, news.changed()).await.map_err(|_late| none())?);
        }
    }
}

impl Keyring {
    /// What this hub knows of the present epoch.
    pub(super) async fn kept(&self, app: &App) -> Kept {
        let mut keys = self.keys.lock().await;
        keys.enter(&app.replica.position().borrow().epoch_text(), boot_now());
        keys.kept(boot_now())
    }

    /// Keeps what the leader has said.
    async fn follow(&self, app: &App, kept: &Kept) {
        if app.seat.leads() {
            return;
        }
        let mut keys = self.keys.lock().await;
        keys.enter(&app.replica.position().borrow().epoch_text(), boot_now());
        keys.follow(kept, boot_now());
    }
}

/// Keeps the keys until the drain.
pub(crate) async fn keep(app: Arc<App>) {
    let (mut status, mut snapshots) = (app.seat.status(), app.replica.snapshots());
    let mut news = app.keys.news.subscribe();
    let mut succeeded = None;
    loop {
        let leading = {
            let status = status.borrow_and_update();
            (status.is_leader().then_some(status.term), status.leader)
        };
        snapshots.borrow_and_update();
        news.borrow_and_update();
        let look = async {
            match leading {
                (Some(term), _) => app.lead_keys(&mut succeeded, term).await,
                (None, leader) => app.follow_keys(leader).await,
            }
        };
        let pause = tokio::select! {
            () = app.drain.cancelled() => return,
            pause = look => pause,
        };
        tokio::select! {
            () = app.drain.cancelled() => return,
            () = sleep(pause) => {}
            Ok(_other) = status.wait_for(|now| (now.is_leader().then_some(now.term), now.leader) != leading) => {}
            Ok(()) = snapshots.changed() => {}
            Ok(()) = news.changed(), if leading.0.is_some() => {}
        }
    }
}

impl App {
    /// Asks the leader for what it keeps; answers after how long that is due again.
    async fn follow_keys(&self, leader: Option<Uid>) -> Duration {
        let Some(leader) = leader.filter(|leader| Some(*leader) != self.replica.here()) else { return REFRESH };
        match self.seat.peers().ask(leader, &Ask::Keys, Instant::now() + LEADER_LIMIT).await {
            Ok(Answer::Keys(kept)) => self.keys.follow(self, &kept).await,
            other => tracing::debug!(?other, "the leader did not say which keys there are"),
        }
        REFRESH
    }

    /// Does what is due of a leader; answers after how long something is due again.
    async fn lead_keys(&self, succeeded: &mut Option<(String, u64)>, term: u64) -> Duration {
        let epoch = self.replica.position().borrow().epoch_text();
        if self.snapshot().directory().is_err() {
            return REFRESH;
        }
        let leadership = Some((epoch.clone(), term));
        if *succeeded != leadership {
            let others = self.kept_by_others().await;
            let mut keys = self.keys.keys.lock().await;
            keys.enter(&epoch, boot_now());
            keys.succeed(&others, boot_now());
            *succeeded = leadership;
        }
        // What is decided on is what a majority has, or a leader that was cut off would make keys of its own.
        if self.linear_here(Instant::now() + LEADER_LIMIT).await.is_err() {
            return PAUSE;
        }
        let (view, now) = (self.key_view(), boot_now());
        let mut keys = self.keys.keys.lock().await;
        match keys.step(now, &view) {
            Ok(Some(Step::Made(number, why))) => {
                tracing::info!(number, why, "a new key for datagrams was made");
                self.keys.news.send_replace(());
            }
            Ok(Some(Step::Sealed(number))) => tracing::info!(number, "datagrams are sealed with the new key"),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(reason = acp_base::sentence(&error), "no key for datagrams can be made");
                return PAUSE;
            }
        }
        left(now, keys.deadline())
    }

    fn key_view(&self) -> crate::keys::View {
        let (snapshot, last_index) = (self.snapshot(), self.seat.status().borrow().last_index);
        let members: BTreeSet<Uid> = snapshot.state.members().keys().copied().collect();
        let online = members.iter().copied().filter(|member| self.presence.of(*member).0).collect();
        let removed = snapshot.directory().map(|directory| directory.removed.iter().copied().collect());
        // Both only grow, and so does their sum: with each election the one, with each entry the other.
        let index = last_index + self.replica.position().borrow().index;
        crate::keys::View { index, members, removed: removed.unwrap_or_default(), online }
    }

    async fn kept_by_others(&self) -> Vec<Kept> {
        let (voters, here) = (self.seat.status().borrow().voters.clone(), self.replica.here());
        let deadline = Instant::now() + GATHER_LIMIT;
        let mut asking = JoinSet::new();
        for voter in voters.into_iter().filter(|voter| Some(*voter) != here) {
            let peers = self.seat.peers().clone();
            asking.spawn(async move { peers.ask(voter, &Ask::Keys, deadline).await });
        }
        let mut kept = Vec::new();
        while let Some(answer) = asking.join_next().await {
            match answer {
                Ok(Ok(Answer::Keys(answer))) => kept.push(answer),
                other => tracing::debug!(?other, "a voter did not say which keys it keeps"),
            }
        }
        kept
    }
}

fn left(now: BootInstant, deadline: BootInstant) -> Duration {
    deadline.since(now)
}
