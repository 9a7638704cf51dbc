//! The verbs: from the command line to calls, and from answers to the output.

mod cluster;
mod image;
mod job;
mod key;
mod network;
mod node;
mod object;
mod pool;
mod service;
mod status;
mod system;
mod volume;

use acp_base::Failure;
use acp_wire_model::Kind;
use clap::CommandFactory;

use crate::{
    args::{Cli, Command},
    columns,
    session::Session,
    view,
};

/// Does what was asked and answers the exit status.
pub(crate) async fn run(session: &mut Session, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Status => status::run(session).await,
        Command::Cluster(verb) => cluster::run(session, verb).await,
        Command::Node(verb) => node::run(session, verb).await,
        Command::Key(verb) => key::run(session, verb).await,
        Command::Service(verb) => service::run(session, verb).await,
        Command::Image(verb) => image::run(session, verb).await,
        Command::Pool(verb) => pool::run(session, verb).await,
        Command::Volume(verb) => volume::run(session, verb).await,
        Command::Network(verb) => network::run(session, verb).await,
        Command::System(verb) => system::run(session, verb).await,
        Command::Job(verb) => job::run(session, verb).await,
        Command::Object(verb) => object::run(session, verb).await,
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
    let rows: Vec<_> = objects.iter().map(view::of).collect();
    session.out.list(&rows, columns::of(kind))?;
    Ok(crate::DONE)
}

/// Prints one object.
async fn show(session: &mut Session, kind: Kind, name: &str) -> Result<u8, Failure> {
    let object = session.get(kind, name).await?;
    session.out.object(&view::of(&object))?;
    Ok(crate::DONE)
}
