//! Members and roles as operators change them.

use std::sync::Arc;

use acp_base::{Failure, Uid};
use acp_core_membership::Command;
use acp_io_daemon::{Call, Caller};
use acp_wire_api::{Empty, hub as api};

use super::App;
use crate::error::rejected;

pub(super) async fn rename(app: Arc<App>, call: Call<api::Rename>) -> Result<Empty, Failure> {
    let node = app.named(&call.request.name)?;
    let command = Command::Rename { node, to: call.request.to };
    app.command(command, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

pub(super) async fn readdress(app: Arc<App>, call: Call<api::Readdress>) -> Result<Empty, Failure> {
    let api::ReaddressRequest { name, address } = call.request;
    let node = match &name {
        Some(name) => app.may_readdress(app.named(name)?, &call.caller)?,
        None => App::speaker(&app.snapshot(), &call.caller)?,
    };
    let address = address
        .parse()
        .map_err(|_no_address| Failure::invalid(format!("address: {address:?} is not of the form IP:PORT")))?;
    app.command(Command::Readdress { node, address }, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

pub(super) async fn assign_domain(app: Arc<App>, call: Call<api::AssignDomain>) -> Result<Empty, Failure> {
    let command = Command::AssignDomain { node: app.named(&call.request.name)?, domain: call.request.domain };
    app.command(command, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

pub(super) async fn park(app: Arc<App>, call: Call<api::Park>) -> Result<Empty, Failure> {
    let node = app.named(&call.request.name)?;
    app.command(Command::Park { node }, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

pub(super) async fn unpark(app: Arc<App>, call: Call<api::Unpark>) -> Result<Empty, Failure> {
    let node = app.named(&call.request.name)?;
    app.command(Command::Unpark { node }, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

pub(super) async fn list_roles(app: Arc<App>, _call: Call<api::ListRoles>) -> Result<api::ListRolesReply, Failure> {
    Ok(api::ListRolesReply { roles: app.snapshot().directory()?.roles.clone() })
}

pub(super) async fn set_role(app: Arc<App>, call: Call<api::SetRole>) -> Result<Empty, Failure> {
    let api::RoleRequest { name, units, nodes } = call.request;
    let command = Command::SetRole { name, units, nodes };
    app.command(command, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

pub(super) async fn set_metadata(app: Arc<App>, call: Call<api::SetMetadata>) -> Result<Empty, Failure> {
    let api::MetadataRequest { name, set, unset } = call.request;
    let command = Command::SetMetadata { node: app.named(&name)?, set, unset: unset.into_iter().collect() };
    app.command(command, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

impl App {
    fn named(&self, name: &acp_base::Name) -> Result<Uid, Failure> {
        let snapshot = self.snapshot();
        snapshot.directory()?;
        snapshot.state.member_named(name).map_err(|rejection| rejected(&rejection))
    }

    /// A node says it of itself alone, an operator of every one.
    fn may_readdress(&self, node: Uid, caller: &Caller) -> Result<Uid, Failure> {
        match caller.node() {
            Some(other) if other != node => {
                let text = format!("{} may say where it is dialled itself, and of no other node", caller.actor());
                Err(Failure::new(acp_base::Code::PermissionDenied, text))
            }
            Some(_) | None => Ok(node),
        }
    }
}
