//! Who is a member, and who goes.

use std::sync::Arc;

use acp_base::Failure;
use acp_core_membership::Command;
use acp_io_daemon::Call;
use acp_wire_api::{Empty, hub as api};

use super::App;

pub(super) async fn status(app: Arc<App>, _call: Call<api::GetStatus>) -> Result<api::HubStatus, Failure> {
    let snapshot = app.snapshot();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Ok(api::HubStatus {
        cluster: snapshot.directory().ok().map(|directory| directory.cluster.clone()),
        revision: snapshot.state.revision(),
        nodes: count(snapshot.state.members().len()),
        online: count(app.presence.online()),
    })
}

pub(super) async fn list(app: Arc<App>, _call: Call<api::ListNodes>) -> Result<api::ListNodesReply, Failure> {
    let snapshot = app.snapshot();
    let directory = snapshot.directory()?;
    let nodes = directory.nodes.iter().map(|node| {
        let (online, for_ms) = app.presence.of(node.uid);
        api::NodePresence { node: node.clone(), online, for_ms }
    });
    Ok(api::ListNodesReply { revision: directory.revision, nodes: nodes.collect() })
}

pub(super) async fn remove(app: Arc<App>, call: Call<api::RemoveNode>) -> Result<Empty, Failure> {
    app.command(Command::Remove { name: call.request.name }, &call.caller).await.map(|_snapshot| Empty {})
}

pub(super) async fn leave(app: Arc<App>, call: Call<api::Leave>) -> Result<Empty, Failure> {
    let node = App::speaker(&app.snapshot(), &call.caller)?;
    app.command(Command::Leave { node }, &call.caller).await.map(|_snapshot| Empty {})
}
