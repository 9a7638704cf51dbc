//! `acpctl object`.

use std::time::Duration;

use acp_base::{Code, Failure};
use acp_wire_api::cluster::{Watch, WatchChange, WatchEvent, WatchReply, WatchRequest};
use acp_wire_model::Kind;
use serde_json::{Value, json};

use super::show;
use crate::{args::ObjectVerb, columns, error, output::to_value, session::Session, view};

/// The pause before a watch that was lost is taken up again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

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

/// Prints changes until it is ended; a cluster service that restarts is asked to continue.
async fn watch(session: &mut Session, kind: Kind, mut cursor: Option<String>) -> Result<u8, Failure> {
    loop {
        match follow(session, kind, &mut cursor).await {
            Err(failure) if failure.code == Code::Unavailable && cursor.is_some() => {
                error::say(&format!("watch lost ({failure}); continuing"));
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn follow(session: &mut Session, kind: Kind, cursor: &mut Option<String>) -> Result<u8, Failure> {
    let request = WatchRequest { kinds: vec![kind], cursor: cursor.clone(), without_stats: false };
    let mut replies = session.service("cluster")?.stream::<Watch>(request).await?;
    while let Some(reply) = replies.next().await {
        let WatchReply { events, cursor: next } = reply?;
        for event in events {
            print(session, &event, &next)?;
        }
        *cursor = Some(next);
    }
    Err(Failure::unavailable("the watch ended"))
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
