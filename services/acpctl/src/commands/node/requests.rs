//! `acpctl node requests`, `approve` and `reject`.

use acp_base::{Failure, Uid};
use acp_wire_api::hub::JoinAsked;
use serde_json::json;

use crate::{
    commands::short_id::select,
    output::{Column, Style, to_value},
    session::Session,
};

const COLUMNS: &[Column] = &[
    Column("ID", "/request", Style::Plain),
    Column("NODE", "/name", Style::Plain),
    Column("ADDRESS", "/address", Style::Plain),
    Column("ASKED", "/asked_ms", Style::Since),
    Column("EXPIRES", "/until_ms", Style::Until),
    Column("FINGERPRINT", "/fingerprint", Style::Plain),
];

pub(super) async fn list(session: &mut Session) -> Result<u8, Failure> {
    let requests = session.acp().nodes().requests().await?;
    let rows = requests.iter().map(to_value).collect::<Result<Vec<_>, _>>()?;
    session.out.list(&rows, COLUMNS)?;
    Ok(crate::DONE)
}

pub(super) async fn approve(session: &mut Session, id: &str) -> Result<u8, Failure> {
    let asked = find(session, id).await?;
    session.acp().nodes().approve(asked.request).await?;
    said(session, &asked, "may join")
}

pub(super) async fn reject(session: &mut Session, id: &str) -> Result<u8, Failure> {
    let asked = find(session, id).await?;
    session.acp().nodes().reject(asked.request).await?;
    said(session, &asked, "is turned away")
}

fn said(session: &mut Session, asked: &JoinAsked, what: &str) -> Result<u8, Failure> {
    let sentence = format!("node {} at {} with the key {} {what}", asked.name, asked.address, asked.fingerprint);
    session.out.done(&sentence, &json!({ "request": asked.request, "name": asked.name }))?;
    Ok(crate::DONE)
}

/// The request of this id, or whose id begins or ends so.
async fn find(session: &Session, text: &str) -> Result<JoinAsked, Failure> {
    let requests = session.acp().nodes().requests().await?;
    let ids: Vec<String> = requests.iter().map(|asked| asked.request.to_string()).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let text = text.parse::<Uid>().map_or_else(|_part| text.to_owned(), |id| id.to_string());
    let id = select(&names, &text, "request", "node requests")?;
    let found = requests.into_iter().find(|asked| asked.request.to_string() == id);
    found.ok_or_else(|| Failure::internal("a request that was listed is not there"))
}
