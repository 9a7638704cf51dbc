//! `acpctl object`.

use acp_base::Failure;
use acp_client::ObjectNews;
use acp_wire_api::cluster::{WatchChange, WatchEvent};
use acp_wire_model::Kind;
use serde_json::{Value, json};

use super::show;
use crate::{args::ObjectVerb, columns, error, output::to_value, session::Session, view};

pub(super) async fn run(session: &mut Session, verb: ObjectVerb) -> Result<u8, Failure> {
    match verb {
        ObjectVerb::Get { kind, name } => show(session, kind, &name).await,
        ObjectVerb::List { kind, selector } => {
            let selectors = selector.into_iter().map(|argument| argument.0).collect();
            let objects = session.list(kind, selectors).await?;
            let rows: Vec<_> = objects.iter().map(view::of).collect();
            session.out.list(&rows, columns::of(kind))?;
            Ok(crate::DONE)
        }
        ObjectVerb::Watch { kind, cursor } => watch(session, kind, cursor).await,
    }
}

/// Prints changes until it is ended.
async fn watch(session: &mut Session, kind: Kind, cursor: Option<String>) -> Result<u8, Failure> {
    let mut watch = session.acp().objects().watch(vec![kind], cursor);
    let mut is_told = false;
    loop {
        match watch.next().await? {
            ObjectNews::Events(events, cursor) => {
                is_told = false;
                for event in &events {
                    print(session, event, &cursor)?;
                }
            }
            ObjectNews::Lost(failure) => {
                if !is_told {
                    error::say(&format!("watch lost ({failure}); continuing"));
                }
                is_told = true;
            }
        }
    }
}

fn print(session: &mut Session, event: &WatchEvent, cursor: &str) -> Result<(), Failure> {
    let object = event.object.as_ref().map(view::of).unwrap_or_default();
    let fields = json!({ "change": to_value(&event.change)?, "object": object, "cursor": cursor });
    session.out.item(&line(event.change, &object), &fields)
}

fn line(change: WatchChange, object: &Value) -> String {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let state = object["status"]["state"].as_str().unwrap_or_default();
    match change {
        WatchChange::Put => format!("put     {} {} {state}", text("kind"), text("name")).trim_end().to_owned(),
        WatchChange::Delete => format!("delete  {} {}", text("kind"), text("name")),
        WatchChange::Synced => "synced  what follows are changes".to_owned(),
        WatchChange::Resync => "resync  the whole state follows".to_owned(),
    }
}
