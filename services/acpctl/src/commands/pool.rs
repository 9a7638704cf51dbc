//! `acpctl pool`.

use acp_base::Failure;
use acp_wire_api::storage::{CreatePool, CreatePoolRequest};
use acp_wire_model::Kind;
use serde_json::json;

use super::{list, show};
use crate::{args::PoolVerb, session::Session};

pub(super) async fn run(session: &mut Session, verb: PoolVerb) -> Result<u8, Failure> {
    match verb {
        PoolVerb::List => list(session, Kind::Pool).await,
        PoolVerb::Show(pool) => show(session, Kind::Pool, pool.name.as_str()).await,
        PoolVerb::Create { name, path } => {
            let path = path.map(|path| absolute(session, &path)).transpose()?;
            session.call_patiently::<CreatePool>("storage", CreatePoolRequest { name: name.clone(), path }).await?;
            session.out.done(&format!("pool {name} is ready"), &json!({ "name": name }))?;
            Ok(crate::DONE)
        }
    }
}

/// A path is relative to where the command was typed, which the service does not know.
fn absolute(session: &Session, path: &std::path::Path) -> Result<String, Failure> {
    if session.is_elsewhere() && path.is_relative() {
        let text = format!("{} is a path on the other node, where it has to begin with /", path.display());
        return Err(Failure::invalid(text));
    }
    let absolute =
        std::path::absolute(path).map_err(|error| Failure::invalid(format!("{}: {error}", path.display())))?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::invalid(format!("the path {} is no UTF-8", absolute.display())))
}
