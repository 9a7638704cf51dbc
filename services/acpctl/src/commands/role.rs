//! `acpctl role`.

use acp_base::Failure;
use acp_wire_api::hub::RoleRequest;
use serde_json::json;

use crate::{
    args::{Names, RoleVerb},
    output::{Column, Style, to_value},
    session::Session,
};

const COLUMNS: &[Column] = &[
    Column("ROLE", "/name", Style::Plain),
    Column("UNITS", "/units", Style::Joined),
    Column("NODES", "/nodes", Style::Joined),
];

pub(super) async fn run(session: &mut Session, verb: RoleVerb) -> Result<u8, Failure> {
    match verb {
        RoleVerb::List => {
            let roles = session.acp().nodes().roles().await?;
            let rows = roles.iter().map(to_value).collect::<Result<Vec<_>, _>>()?;
            session.out.list(&rows, COLUMNS)?;
        }
        RoleVerb::Set { role, units, nodes } => {
            let names = |given: Option<Names>| given.map(|Names(names)| names);
            let request = RoleRequest { name: role.clone(), units: names(units), nodes: names(nodes) };
            session.acp().nodes().set_role(request).await?;
            session.out.done(&format!("role {role} is set"), &json!({ "name": role }))?;
        }
    }
    Ok(crate::DONE)
}
