//! Who is a member, who is there, and who goes.

use std::sync::Arc;

use acp_base::Failure;
use acp_core_membership::Command;
use acp_io_daemon::Call;
use acp_wire_api::{Empty, hub as api};
use acp_wire_model::{Kind, entry::Action};

use super::App;
use crate::error::rejected;

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
    pub(super) fn name_of(&self, uid: acp_base::Uid) -> Option<acp_base::Name> {
        let snapshot = self.snapshot();
        let member = snapshot.state.members().get(&uid).map(|member| member.name.clone());
        member.or_else(|| (self.replica.here() == Some(uid)).then(|| self.node.clone()))
    }
}
