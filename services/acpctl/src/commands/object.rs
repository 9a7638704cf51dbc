//! `acpctl object`.

use acp_base::{Failure, WallTime};
use acp_client::{ObjectNews, diff};
use acp_wire_api::cluster::{GetAtReply, ListAtReply, PastObject, Selector, WatchChange, WatchEvent};
use acp_wire_model::Kind;
use serde_json::{Value, json};

use super::{print as print_object, rows, show};
use crate::{
    args::ObjectVerb,
    columns, error,
    output::{Column, Style, to_value},
    session::Session,
    view,
};

pub(super) async fn run(session: &mut Session, verb: ObjectVerb) -> Result<u8, Failure> {
    match verb {
        ObjectVerb::Get { kind, name, at: Some(index), .. } => show_at(session, kind, &name, index).await,
        ObjectVerb::Get { kind, name, consistent: true, .. } => {
            let object = session.acp().objects().get_consistent(kind, &name).await?;
            print_object(session, &object).await
        }
        ObjectVerb::Get { kind, name, .. } => show(session, kind, &name).await,
        ObjectVerb::Diff { kind, name, from, to } => compare(session, kind, &name, from, to).await,
        ObjectVerb::List { kind, selector, at } => {
            let selectors = selector.into_iter().map(|argument| argument.0).collect();
            if let Some(index) = at {
                return list_at(session, kind, selectors, index).await;
            }
            let objects = session.list(kind, selectors).await?;
            rows(session, kind, &objects).await
        }
        ObjectVerb::Watch { kind, cursor } => watch(session, kind, cursor).await,
    }
}

/// What was asked of an object at an index of the log; how it was then, nobody has kept.
async fn show_at(session: &mut Session, kind: Kind, name: &str, index: u64) -> Result<u8, Failure> {
    let GetAtReply { uid, name, version, spec, time_ms } = session.acp().objects().get_at(kind, name, index).await?;
    session.out.object(&past(&PastObject { kind, uid, name, version, spec }, index, time_ms))?;
    Ok(crate::DONE)
}

/// The same of all objects of a kind.
async fn list_at(session: &mut Session, kind: Kind, selectors: Vec<Selector>, index: u64) -> Result<u8, Failure> {
    let ListAtReply { objects, time_ms } = session.acp().objects().list_at(kind, selectors, index).await?;
    let rows: Vec<_> = objects.iter().map(|object| past(object, index, time_ms)).collect();
    session.out.list(&rows, &columns::of_past(kind))?;
    if session.out.is_for_people() {
        error::say(&format!("as it was when entry {index} had been applied, ordered at {}", WallTime(time_ms)));
    }
    Ok(crate::DONE)
}

/// An object of the past in the shape of every object.
fn past(object: &PastObject, index: u64, time_ms: u64) -> Value {
    json!({
        "kind": object.kind, "name": object.name, "uid": object.uid, "version": object.version, "spec": object.spec,
        "status": null, "stats": null, "reporter": null, "age_ms": null, "index": index, "time_ms": time_ms,
    })
}

const CHANGES: &[Column] =
    &[Column("FIELD", "/path", Style::Plain), Column("OLD", "/old", Style::Plain), Column("NEW", "/new", Style::Plain)];

async fn compare(session: &mut Session, kind: Kind, name: &str, from: u64, to: u64) -> Result<u8, Failure> {
    let objects = session.acp().objects();
    let at =
        async |index| objects.get_at(kind, name, index).await.map_err(|failure| failure.context(format!("at {index}")));
    let (old, new) = tokio::try_join!(at(from), at(to))?;
    if old.uid != new.uid {
        return Err(Failure::precondition(format!(
            "{kind} {name} at {from} and at {to} are two objects: the one was deleted, the other created under its name"
        )));
    }
    let changes = diff(&old.spec, &new.spec).into_iter();
    let rows: Vec<_> = changes.map(|one| json!({ "path": one.path, "old": one.old, "new": one.new })).collect();
    session.out.list(&rows, CHANGES)?;
    Ok(crate::DONE)
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
