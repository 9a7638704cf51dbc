//! `acpctl node token`.

use acp_base::Failure;
use acp_wire_api::{
    Empty,
    hub::{CreateToken, CreateTokenRequest, ListTokens, RevokeToken, TokenRequest},
};
use serde_json::json;

use crate::{
    args::TokenVerb,
    commands::cluster::HUB,
    error,
    output::{Column, Style, now_ms, to_value, until},
    session::Session,
};

const COLUMNS: &[Column] = &[
    Column("ID", "/uid", Style::Plain),
    Column("EXPIRES", "/expires_ms", Style::Until),
    Column("USES LEFT", "/uses_left", Style::Plain),
    Column("NO ROOT KEY", "/no_root_key", Style::Plain),
];

pub(super) async fn run(session: &mut Session, verb: TokenVerb) -> Result<u8, Failure> {
    match verb {
        TokenVerb::Create { lifetime, uses, no_root_key } => {
            let request = CreateTokenRequest { lifetime_ms: Some(lifetime.millis()), uses: Some(uses), no_root_key };
            let reply = session.call::<CreateToken>(HUB, request).await?;
            session.out.done(&reply.text, &to_value(&reply)?)?;
            if session.out.is_for_people() {
                let nodes = if uses == 1 { "one node".to_owned() } else { format!("{uses} nodes") };
                error::say(&format!(
                    "token {} lets {nodes} join and expires {}; it is shown this once. On the new node: acpctl node join \
                     ADDRESS",
                    reply.token.uid,
                    until(reply.token.expires_ms, now_ms())
                ));
            }
        }
        TokenVerb::List => {
            let tokens = session.call::<ListTokens>(HUB, Empty {}).await?.tokens;
            let rows = tokens.iter().map(to_value).collect::<Result<Vec<_>, _>>()?;
            session.out.list(&rows, COLUMNS)?;
        }
        TokenVerb::Revoke { id } => {
            session.call::<RevokeToken>(HUB, TokenRequest { uid: id }).await?;
            session.out.done(&format!("token {id} is revoked"), &json!({ "uid": id }))?;
        }
    }
    Ok(crate::DONE)
}
