//! The verbs: from the command line to calls, and from answers to the output.

mod cluster;
mod doctor;
mod domain;
mod event;
mod hub;
mod image;
mod job;
mod key;
mod lease;
mod network;
mod node;
mod object;
mod pool;
mod role;
mod service;
mod short_id;
mod status;
mod system;
mod top;
mod volume;

use std::collections::BTreeSet;

use acp_base::Failure;
use acp_client::home::CLUSTER;
use acp_wire_api::{Empty, cluster::GetStatus};
use acp_wire_model::{Kind, Object};
use clap::CommandFactory;
use serde_json::Value;

use crate::{
    args::{Cli, Command, LeaseVerb},
    columns, error,
    session::Session,
    view,
};

/// Does what was asked and answers the exit status.
pub(crate) async fn run(session: &mut Session, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Status => status::run(session).await,
        Command::Top(args) => top::run(session, args).await,
        Command::Cluster(verb) => cluster::run(session, verb).await,
        Command::Hub(verb) => hub::run(session, verb).await,
        Command::Node(verb) => node::run(session, verb).await,
        Command::Domain(verb) => domain::run(session, verb).await,
        Command::Role(verb) => role::run(session, verb).await,
        Command::Key(verb) => key::run(session, verb).await,
        Command::Service(verb) => service::run(session, verb).await,
        Command::Image(verb) => image::run(session, verb).await,
        Command::Pool(verb) => pool::run(session, verb).await,
        Command::Volume(verb) => volume::run(session, verb).await,
        Command::Network(verb) => network::run(session, verb).await,
        Command::System(verb) => system::run(session, verb).await,
        Command::Job(verb) => job::run(session, verb).await,
        Command::Object(verb) => object::run(session, verb).await,
        Command::Event(verb) => event::run(session, verb).await,
        Command::Lease(LeaseVerb::List) => lease::list(session).await,
        Command::Completion { shell } => complete(session, shell),
    }
}

fn complete(session: &mut Session, shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "acpctl", &mut script);
    session.out.writer().bytes(&script)?;
    Ok(crate::DONE)
}

/// Prints all objects of a kind.
async fn list(session: &mut Session, kind: Kind) -> Result<u8, Failure> {
    let objects = session.list(kind, Vec::new()).await?;
    rows(session, kind, &objects).await
}

/// Prints objects of a kind, and says where the states are that are not known here.
async fn rows(session: &mut Session, kind: Kind, objects: &[Object]) -> Result<u8, Failure> {
    let rows: Vec<_> = objects.iter().map(view::of).collect();
    session.out.list(&rows, columns::of(kind))?;
    if let Some(hint) = unknown_states(session, kind, &rows).await {
        error::say(&hint);
    }
    Ok(crate::DONE)
}

/// Prints one object.
async fn show(session: &mut Session, kind: Kind, name: &str) -> Result<u8, Failure> {
    let object = session.get(kind, name).await?;
    print(session, &object).await
}

async fn print(session: &mut Session, object: &Object) -> Result<u8, Failure> {
    let row = view::of(object);
    session.out.object(&row)?;
    if let Some(hint) = unknown_states(session, object.kind, &[row]).await {
        error::say(&hint);
    }
    Ok(crate::DONE)
}

/// How objects are that lie on another node, that node tells; what it has not told yet, or never, is said to be missing.
async fn unknown_states(session: &Session, kind: Kind, rows: &[Value]) -> Option<String> {
    let silent = rows.iter().filter(|row| row["status"].is_null()).filter_map(|row| row["spec"]["node"].as_str());
    let mut nodes: BTreeSet<&str> = silent.collect();
    if nodes.is_empty() || !session.out.is_for_people() {
        return None;
    }
    let asked = session.call::<GetStatus>(CLUSTER, Empty {}).await.ok()?.node;
    nodes.remove(asked.as_str());
    let first = *nodes.first()?;
    let names = nodes.into_iter().collect::<Vec<_>>().join(", ");
    Some(format!(
        "nothing was heard of the states on other nodes ({names}); see: acpctl domain show, acpctl --node {first} {kind} list"
    ))
}
