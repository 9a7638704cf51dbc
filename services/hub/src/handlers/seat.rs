//! This hub's part in the log: founding, preparing, retiring, and other voters' conversations.

use std::sync::Arc;

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::{Call, Caller};
use acp_io_varlink::Upgraded;
use acp_wire_api::{Empty, hub as api};
use tokio::time::Instant;

use super::App;
use crate::{
    ask::{Answer, Ask, proposed},
    founding::epoch_number,
    log::Replica,
    orders::{OrderError, not_leader},
    peers::{self, Serving},
    spread::Report,
};

/// How long a question of another hub is worked on. Its asker has a deadline of its own.
const ASK_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) async fn found(app: Arc<App>, call: Call<api::Found>) -> Result<api::FoundReply, Failure> {
    app.founding.found(call.request).await
}

pub(super) async fn retire(app: Arc<App>, _call: Call<api::Retire>) -> Result<Empty, Failure> {
    app.founding.retire().await.map(|()| Empty {})
}

pub(super) async fn prepare(app: Arc<App>, call: Call<api::Prepare>) -> Result<api::PrepareReply, Failure> {
    let caller = node(&call.caller)?;
    app.founding.prepare(call.request, caller).await
}

/// A controller's hub has dialled this one.
pub(super) async fn raft(
    app: Arc<App>,
    call: Call<api::Raft>,
) -> Result<(Empty, impl FnOnce(Upgraded) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>), Failure> {
    let from = node(&call.caller)?;
    app.admit(from, &call.request).await?;
    let (tasks, drain) = (app.tasks.clone(), app.drain.clone());
    Ok((Empty {}, move |way: Upgraded| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(peers::serve(app, from, way, tasks, drain))
    }))
}

fn node(caller: &Caller) -> Result<Uid, Failure> {
    let text = || format!("{} is no node: controllers call this for themselves", caller.actor());
    caller.node().ok_or_else(|| Failure::new(Code::PermissionDenied, text()))
}

impl App {
    /// Whether a node may speak to this hub as a voter: a controller of the same cluster that is not behind in epochs.
    async fn admit(&self, from: Uid, request: &api::RaftRequest) -> Result<(), Failure> {
        let denied = |text: &str| Failure::new(Code::PermissionDenied, format!("node {from}: {text}"));
        let (cluster, epoch) = self.part(&self.replica).await?;
        if request.cluster != cluster {
            return Err(denied("it is of another cluster"));
        }
        let is_same = request.epoch == epoch;
        if !is_same && epoch_number(&request.epoch) <= epoch_number(&epoch) {
            return Err(denied("it is of an epoch that has ended, or of another one"));
        }
        let snapshot = self.snapshot();
        if snapshot.state.members().is_empty() || !snapshot.is_controller(from) {
            // A hub that was prepared has no log yet, and one that was away an old one: the directory knows.
            return self.founding.is_controller_of(cluster, from).await;
        }
        Ok(())
    }

    /// The log that this hub has a part in, or was prepared for.
    async fn part(&self, replica: &Replica) -> Result<(Uid, String), Failure> {
        let at = *replica.position().borrow();
        if let Some(cluster) = at.cluster {
            return Ok((cluster, at.epoch_text()));
        }
        let prepared = self.seat.take().await.prepared.clone();
        prepared.map(|prepared| (prepared.cluster, prepared.epoch)).ok_or_else(crate::seat::no_log)
    }

    pub(super) async fn answer(&self, ask: Ask) -> Result<Answer, Failure> {
        let deadline = Instant::now() + ASK_LIMIT;
        if !self.seat.leads() && !matches!(ask, Ask::Keys) {
            return Err(not_leader());
        }
        match ask {
            Ask::Propose(request) => self.order(request).await.map(Answer::Proposed),
            Ask::ReadIndex => self.linear_here(deadline).await.map(Answer::Index),
            Ask::Nodes => self.nodes(&self.snapshot()).map(Answer::Nodes),
            Ask::Session { node, request } => {
                self.leases.renew(self, node, request, deadline).await.map(Answer::Session)
            }
            Ask::Transfer { to } => self.transfer_here(to).await.map(|()| Answer::Done),
            Ask::Time => Ok(Answer::Time(self.time_here().await)),
            Ask::Keys => Ok(Answer::Keys(self.keys.kept(self).await)),
            Ask::SyncKeys { node, installed } => self.keys_for(node, installed).await.map(Answer::Keys),
            Ask::Ring { node, request } => {
                self.verdicts.report(node, &request);
                Ok(Answer::Done)
            }
        }
    }

    /// Another hub has checked who may propose these.
    async fn order(&self, request: api::ProposeRequest) -> Result<api::ProposeReply, Failure> {
        let drafts = request.entries.into_iter().map(crate::ask::draft).collect::<Result<_, _>>()?;
        match self.orders.order_here(drafts).await {
            Ok(decisions) => Ok(api::ProposeReply { outcomes: decisions.into_iter().map(proposed).collect() }),
            Err(OrderError::NotLeader) => Err(not_leader()),
            Err(OrderError::Failed(failure)) => Err(failure),
        }
    }
}

impl Serving for App {
    async fn raft(&self, from: Uid, frame: Vec<u8>) -> Vec<u8> {
        match self.seat.raft() {
            Some(raft) => raft.serve(from, frame).await,
            None => Vec::new(),
        }
    }

    async fn ask(&self, from: Uid, question: Vec<u8>) -> Vec<u8> {
        let unreadable =
            |error: serde_json::Error| Failure::invalid(format!("a question that is not understood: {error}"));
        let answer = match serde_json::from_slice(&question).map_err(unreadable) {
            // A conversation may be older than what became of its other end.
            Ok(Ask::Keys | Ask::SyncKeys { .. }) if !self.snapshot().is_controller(from) => {
                Err(Failure::new(Code::PermissionDenied, format!("node {from} is no controller")))
            }
            Ok(ask) => self.answer(ask).await,
            Err(failure) => Err(failure),
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    fn report(&self, from: Uid, report: &[u8]) {
        match rmp_serde::from_slice::<Report>(report) {
            Ok(report) => self.spread.report(from, report),
            Err(error) => tracing::warn!(%from, %error, "a voter's report is not understood"),
        }
    }

    fn checkpoint(&self, from: Uid, checkpoint: &[u8]) {
        match serde_json::from_slice(checkpoint) {
            Ok(checkpoint) => self.spread.hear(checkpoint),
            Err(error) => tracing::warn!(%from, %error, "a checkpoint is not understood"),
        }
    }
}
