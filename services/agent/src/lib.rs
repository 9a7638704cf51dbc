#![doc = include_str!("../README.md")]

mod authority;
mod carry;
mod cluster;
mod config;
mod context;
mod dial;
mod door;
mod handlers;
mod hub_session;
mod identity;
mod limits;
mod measure;
mod member;
mod node;
mod open;
mod peers;
mod persist;
mod pool;
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
    identity::{Identity, IdentityError},
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
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the node's membership cannot be read")]
    Record(#[from] acp_io_record::RecordError),
    #[error("the node's membership cannot be used")]
    Member(#[from] MemberError),
    #[error(transparent)]
    Serve(#[from] Fatal),
}

impl RunError {
    /// Whether somebody has to look at a file first.
    const fn is_for_the_operator(&self) -> bool {
        match self {
            Self::Directory(_) | Self::Identity(IdentityError::Keep(_)) => false,
            Self::Identity(IdentityError::Record(error)) | Self::Record(error) => error.is_for_the_operator(),
            Self::Identity(IdentityError::Key(_)) | Self::Member(_) => true,
            Self::Serve(fatal) => matches!(fatal, Fatal::Config(_)),
        }
    }
}

async fn run(config: Config, context: Context) -> Result<(), RunError> {
    let state = &context.paths.state;
    std::fs::create_dir_all(state).map_err(RunError::Directory)?;
    let identity = Identity::ensure(state)?;
    let node = Arc::new(Node::new(context.clone(), config, identity));
    if let Some(record) = node.store.read()? {
        node.begin(record, None)?;
    }
    let _server = context.serve(handlers::router(&node))?;
    context.ready();
    context.drain.cancelled().await;
    Ok(())
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
