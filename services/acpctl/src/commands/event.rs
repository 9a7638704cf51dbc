//! `acpctl event`: what has happened, told by the entries of the log.

use acp_base::{Code, Failure};
use acp_client::{Event, EventStart, EventTeller, home::CLUSTER};
use acp_wire_api::{Empty, cluster::GetStatus};
use acp_wire_model::entry::Action;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{EventVerb, StartArg},
    error,
    output::{Column, Style, to_value},
    session::Session,
};

const COLUMNS: &[Column] = &[
    Column("INDEX", "/index", Style::Plain),
    Column("TIME", "/time_ms", Style::Instant),
    Column("ACTOR", "/actor", Style::Plain),
    Column("WHAT", "/what", Style::Plain),
    Column("REFUSED", "/refused", Style::Plain),
];

/// The exit status of a log that does not verify.
const BROKEN: u8 = Code::DataLoss.exit_status();

pub(super) async fn run(session: &mut Session, verb: EventVerb) -> Result<u8, Failure> {
    match verb {
        EventVerb::List { from, limit } => list(session, from, limit).await,
        EventVerb::Follow { from } => follow(session, from).await,
        EventVerb::Undo { index } => undo(session, index).await,
        EventVerb::Verify => verify(session).await,
    }
}

async fn list(session: &mut Session, from: Option<StartArg>, limit: u32) -> Result<u8, Failure> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let events = match from {
        Some(StartArg(start)) => session.acp().events().list(start, limit).await?,
        None => session.acp().events().newest(limit).await?,
    };
    let mut teller = EventTeller::new(session.acp());
    let mut rows = Vec::with_capacity(events.len());
    for event in &events {
        rows.push(row(event, &teller.tell(event).await)?);
    }
    session.out.list(&rows, COLUMNS)?;
    if session.out.is_for_people() {
        say_cursor(session, events.last().map(|event| event.cursor.as_str()));
    }
    Ok(crate::DONE)
}

/// Prints events until it is ended, and then where to go on.
async fn follow(session: &mut Session, from: Option<StartArg>) -> Result<u8, Failure> {
    let start = match from {
        Some(StartArg(start)) => start,
        None => from_now_on(session).await?,
    };
    let broken = |error: std::io::Error| Failure::internal(format!("cannot wait for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    // A node without daemons is said at once; one whose daemons restart is waited for.
    session.service(CLUSTER)?;
    let mut teller = EventTeller::new(session.acp());
    let mut watch = session.acp().events().follow(start);
    let mut cursor = None;
    let mut is_told = false;
    loop {
        let news = tokio::select! {
            news = watch.next() => news,
            _signal = interrupt.recv() => break,
            _signal = terminate.recv() => break,
        };
        match news {
            Ok(events) => {
                is_told = false;
                for event in &events {
                    let what = teller.tell(event).await;
                    session.out.item(&line(event, &what), &row(event, &what)?)?;
                    cursor = Some(event.cursor.clone());
                }
            }
            Err(failure) if failure.code == Code::Unavailable => {
                if !is_told {
                    error::say(&format!("the log is lost ({failure}); continuing"));
                }
                is_told = true;
            }
            Err(failure) => return Err(failure),
        }
    }
    say_cursor(session, cursor.as_deref());
    Ok(crate::DONE)
}

/// After the newest event there is; where none is kept, behind what the state holds.
async fn from_now_on(session: &Session) -> Result<EventStart, Failure> {
    if let Some(newest) = session.acp().events().newest(1).await?.pop() {
        return Ok(EventStart::After(newest.cursor));
    }
    Ok(EventStart::Index(session.call::<GetStatus>(CLUSTER, Empty {}).await?.index + 1))
}

fn say_cursor(session: &Session, cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        error::say(&format!("go on with: {}", session.advice(&format!("event follow --from {cursor}"))));
    }
}

/// An event for programs: its entry, its fate, and what it did in words.
fn row(event: &Event, what: &str) -> Result<Value, Failure> {
    let entry = event.entry.as_ref();
    Ok(json!({
        "index": event.index,
        "epoch": entry.map(|entry| entry.epoch.to_string()),
        "time_ms": entry.map(|entry| entry.time.0),
        "actor": entry.map(|entry| entry.actor.clone()),
        "request": entry.map(|entry| entry.request.clone()),
        "what": what,
        "action": entry.map(|entry| to_value(&entry.action)).transpose()?,
        "refused": event.refused,
        "hash": event.hash,
        "cursor": event.cursor,
    }))
}

fn line(event: &Event, what: &str) -> String {
    let entry = event.entry.as_ref();
    let time = entry.map_or_else(|| "-".to_owned(), |entry| entry.time.to_string());
    let actor = entry.map_or("-", |entry| entry.actor.as_str());
    let refused = event.refused.as_ref().map(|why| format!(" -- REFUSED: {why}")).unwrap_or_default();
    format!("{:>8}  {time}  {actor}  {what}{refused}", event.index)
}

async fn undo(session: &mut Session, index: u64) -> Result<u8, Failure> {
    let event = session.acp().events().get(index).await?;
    let what = EventTeller::new(session.acp()).tell(&event).await;
    if let Some(why) = &event.refused {
        return Err(Failure::precondition(format!(
            "event {index} ({what}) was refused, so there is nothing to undo: {why}"
        )));
    }
    let deed = match event.entry.as_ref().map(|entry| &entry.action) {
        Some(Action::Create { .. }) => "deletes it",
        Some(Action::Update { .. }) => "gives the fields their values of before",
        Some(Action::Delete { .. }) => {
            "declares it anew as it was; what its deletion has removed, like disks, does not come back"
        }
        _ => {
            return Err(Failure::precondition(format!(
                "event {index} ({what}) is none that created, changed or deleted an object: there is nothing to declare against it"
            )));
        }
    };
    session.confirm(&format!("undo event {index} ({what}): that {deed}"))?;
    let written = session.acp().events().undo(index).await?;
    session.out.done(&format!("event {index} is undone by event {}", written.index), &to_value(&written)?)?;
    Ok(crate::DONE)
}

async fn verify(session: &mut Session) -> Result<u8, Failure> {
    let verified = session.acp().events().verify().await?;
    let (sentence, status) = match verified.broken_at {
        None => (
            format!(
                "the chain verifies from entry {} to {}, whose hash is {}",
                verified.first, verified.last, verified.hash
            ),
            crate::DONE,
        ),
        Some(at) => (
            format!(
                "THE LOG DOES NOT VERIFY: entry {at} is not what was ordered; the node's disk or somebody has changed it. See docs/operations/failures.md"
            ),
            BROKEN,
        ),
    };
    session.out.done(&sentence, &to_value(&verified)?)?;
    Ok(status)
}
