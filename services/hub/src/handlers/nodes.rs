//! Who is a member, who is there, and who goes.

use std::sync::Arc;

use acp_base::Failure;
use acp_core_membership::Command;
use acp_io_daemon::Call;
use acp_wire_api::{
    Empty,
    hub::{self as api, Verdict},
};
use acp_wire_model::{Kind, entry::Action};
use tokio::time::{Duration, Instant};

use super::App;
use crate::{
    ask::{Answer, Ask},
    error::rejected,
    snapshot::Snapshot,
};

/// How long the leader is asked who is there before this hub says what it knows itself.
const NODES_LIMIT: Duration = Duration::from_secs(1);

pub(super) async fn status(app: Arc<App>, _call: Call<api::GetStatus>) -> Result<api::HubStatus, Failure> {
    let snapshot = app.snapshot();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let (leader, voters) = {
        let status = app.seat.status();
        let status = status.borrow();
        (status.leader, status.voters.len())
    };
    Ok(api::HubStatus {
        cluster: snapshot.directory().ok().map(|directory| directory.cluster.clone()),
        revision: snapshot.state.revision(),
        nodes: count(snapshot.state.members().len()),
        online: count(app.presence.online()),
        degraded: app.degraded.reason(),
        leader: leader.and_then(|leader| app.name_of(leader)),
        voters: count(voters),
    })
}

pub(super) async fn list(app: Arc<App>, _call: Call<api::ListNodes>) -> Result<api::ListNodesReply, Failure> {
    let snapshot = app.snapshot();
    let leader = app.seat.status().borrow().leader;
    if let Some(leader) = leader.filter(|leader| Some(*leader) != app.replica.here()) {
        let asked = app.seat.peers().ask(leader, &Ask::Nodes, Instant::now() + NODES_LIMIT).await;
        if let Ok(Answer::Nodes(reply)) = asked {
            return Ok(reply);
        }
    }
    app.nodes(&snapshot)
}

pub(super) async fn remove(app: Arc<App>, call: Call<api::RemoveNode>) -> Result<Empty, Failure> {
    let command = Command::Remove { name: call.request.name };
    app.command(command, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

pub(super) async fn plan_remove(app: Arc<App>, call: Call<api::PlanRemove>) -> Result<api::NodePlan, Failure> {
    let (snapshot, name) = (app.snapshot(), call.request.name);
    let uid = snapshot.state.member_named(&name).map_err(|rejection| rejected(&rejection))?;
    let own = app.replica.read(|state| state.own_objects(&name));
    let mut effects = vec![format!("the certificate of node {name} counts no more, on any node")];
    let declared = own.iter().filter_map(|action| match action {
        Action::Create { kind, name, .. } if *kind != Kind::Node => Some((*kind, name)),
        _ => None,
    });
    effects
        .extend(declared.map(|(kind, name)| format!("{kind} {name} is taken out with it; what runs goes on running")));
    if snapshot.is_controller(uid) {
        effects.push("another member takes its place among the voters, if there is one".to_owned());
    }
    let mut after = snapshot.state.clone();
    let decided = after.apply(Command::Remove { name }, acp_io_daemon::wall_now().0);
    let clashes = decided.err().map(|rejection| rejection.to_string()).into_iter().collect();
    Ok(api::NodePlan { effects, clashes })
}

pub(super) async fn leave(app: Arc<App>, call: Call<api::Leave>) -> Result<Empty, Failure> {
    let node = App::speaker(&app.snapshot(), &call.caller)?;
    app.command(Command::Leave { node }, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

impl App {
    /// The members as this hub knows them. Only the leader hears of every watch.
    pub(super) fn nodes(&self, snapshot: &Snapshot) -> Result<api::ListNodesReply, Failure> {
        let directory = snapshot.directory()?;
        let nodes = directory.nodes.iter().map(|node| {
            let (online, for_ms) = self.presence.of(node.uid);
            let verdict = match (node.parked, online) {
                (true, _) => Verdict::Parked,
                (false, true) => Verdict::Online,
                (false, false) => Verdict::Offline,
            };
            api::NodePresence { node: node.clone(), online, verdict, for_ms }
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

    pub(super) fn name_of(&self, uid: acp_base::Uid) -> Option<acp_base::Name> {
        let snapshot = self.snapshot();
        let member = snapshot.state.members().get(&uid).map(|member| member.name.clone());
        member.or_else(|| (self.replica.here() == Some(uid)).then(|| self.node.clone()))
    }
}
