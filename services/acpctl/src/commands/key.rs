//! `acpctl key`.

use acp_base::Failure;
use acp_wire_api::{
    Empty,
    hub::{CreateKey, CreateKeyRequest, KeyRequest, ListKeys, RevokeKey},
};
use serde_json::json;

use super::cluster::HUB;
use crate::{
    args::{KeyVerb, Span},
    error,
    output::{Column, Style, now_ms, to_value, until},
    session::Session,
};

const COLUMNS: &[Column] = &[
    Column("NAME", "/name", Style::Plain),
    Column("SCOPE", "/scope", Style::Plain),
    Column("CREATED", "/created_ms", Style::Since),
    Column("EXPIRES", "/expires_ms", Style::Until),
    Column("ID", "/uid", Style::Plain),
];

pub(super) async fn run(session: &mut Session, verb: KeyVerb) -> Result<u8, Failure> {
    match verb {
        KeyVerb::Create { name, scope, lifetime } => {
            let lifetime_ms = lifetime.map(Span::millis);
            let request = CreateKeyRequest { name, scope: scope.into(), lifetime_ms };
            let reply = session.call::<CreateKey>(HUB, request).await?;
            session.out.done(&reply.secret, &to_value(&reply)?)?;
            if session.out.is_for_people() {
                let ends = reply.key.expires_ms.map_or_else(
                    || "counts until it is revoked".to_owned(),
                    |at_ms| format!("expires {}", until(at_ms, now_ms())),
                );
                error::say(&format!("key {} {ends}; its secret is shown this once", reply.key.name));
            }
        }
        KeyVerb::List => {
            let keys = session.call::<ListKeys>(HUB, Empty {}).await?.keys;
            let rows = keys.iter().map(to_value).collect::<Result<Vec<_>, _>>()?;
            session.out.list(&rows, COLUMNS)?;
        }
        KeyVerb::Revoke { name } => {
            session.call::<RevokeKey>(HUB, KeyRequest { name: name.clone() }).await?;
            session.out.done(&format!("key {name} is revoked"), &json!({ "name": name }))?;
        }
    }
    Ok(crate::DONE)
}
