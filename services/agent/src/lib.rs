#![doc = include_str!("../README.md")]

mod adopt;
mod authority;
mod carry;
mod cluster;
mod config;
mod context;
mod controllers;
mod database;
mod dial;
mod door;
mod handlers;
mod hub_session;
mod identity;
mod keep_alive;
mod limits;
mod measure;
mod member;
mod node;
mod open;
mod own;
mod peers;
mod persist;
mod pool;
mod readdress;
mod refused;
mod renewal;
mod report;
mod reverse;
mod route;
mod socket;
mod speaker;
mod tidy;
mod visitor;

use std::{error::Error, sync::Arc};

use acp_io_daemon::{Context, Daemon, Fatal};
use acp_wire_api::Interface;

pub use config::Config;

use crate::{
    identity::Identity,
    limits::{PAUSE_MIN, START_LIMIT},
    member::MemberError,
    node::Node,
    report::millis,
};

/// The daemon `acp-agent`.
#[derive(Clone, Copy, Debug)]
pub struct Agent;

impl Daemon for Agent {
    const NOUN: &'static str = "agent";
    const INTERFACES: fn() -> Vec<Interface> = || vec![acp_wire_api::agent::interface()];
    type Config = Config;

    async fn run(config: Config, context: Context) -> Result<(), Fatal> {
        run(config, context).await.map_err(|error| {
            let message = sentence(&error);
            if error.is_for_the_operator() { Fatal::config(message) } else { Fatal::temporary(message) }
        })
    }
}

/// Why the agent cannot begin. Nothing was changed.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the agent's directory cannot be used")]
    Directory(#[source] std::io::Error),
    #[error("the node's key cannot be used")]
    Key(#[from] acp_io_pki::PkiError),
    #[error("the node's membership cannot be read")]
    Record(#[from] acp_io_record::RecordError),
    #[error("the node's membership cannot be used")]
    Member(#[from] MemberError),
    #[error("the cluster service has not said which node this is: {0}")]
    Nobody(acp_base::Failure),
    #[error(transparent)]
    Serve(#[from] Fatal),
}

impl RunError {
    /// Whether somebody has to look at a file first.
    const fn is_for_the_operator(&self) -> bool {
        match self {
            Self::Directory(_) | Self::Nobody(_) => false,
            Self::Record(error) => error.is_for_the_operator(),
            Self::Key(_) | Self::Member(_) => true,
            Self::Serve(fatal) => matches!(fatal, Fatal::Config(_)),
        }
    }
}

async fn run(config: Config, context: Context) -> Result<(), RunError> {
    let state = &context.paths.state;
    std::fs::create_dir_all(state).map_err(RunError::Directory)?;
    let identity = Identity::ensure(state)?;
    let node = Arc::new(Node::new(context.clone(), config, identity));
    // A member knows by its certificate who it is, and is there for the others before its own database is.
    match node.store.read()? {
        Some(record) => drop(node.begin(record, None)?),
        None => tokio::select! {
            () = context.drain.cancelled() => return Ok(()),
            identified = identify(&node) => identified?,
        },
    }
    if node.member().is_none() && node.store.left()?.is_some() {
        let (drain, parting) = (context.drain.clone(), database::keep_parting(Arc::clone(&node)));
        context.tasks.spawn("parting", async move {
            tokio::select! {
                () = drain.cancelled() => {}
                () = parting => {}
            }
        });
    }
    let _server = context.serve(handlers::router(&node))?;
    context.ready();
    context.drain.cancelled().await;
    Ok(())
}

/// Asks the cluster service which node this is, for as long as it may take to start.
async fn identify(node: &Node) -> Result<(), RunError> {
    let until = tokio::time::Instant::now() + START_LIMIT;
    let mut pause = PAUSE_MIN;
    loop {
        let failure = match database::status(node).await {
            Ok(status) => {
                node.identify(status.node_uid);
                return Ok(());
            }
            Err(failure) => failure,
        };
        if tokio::time::Instant::now() + pause >= until {
            return Err(RunError::Nobody(failure));
        }
        tokio::time::sleep(pause).await;
        pause = dial::longer(pause);
    }
}

/// The error and its causes in one sentence, each said once.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
