#![doc = include_str!("../README.md")]

mod access;
mod answer;
mod answers;
mod app;
mod call;
mod config;
mod document;
mod events;
mod host;
mod limits;
mod metrics;
mod operation;
mod page;
mod parameter;
mod problem;
mod request;
mod resources;
mod routes;
mod serve;
mod watches;

use std::{net::SocketAddr, sync::Arc};

use acp_base::Failure;
use acp_io_daemon::{Context, Daemon, Fatal, Router};
use acp_io_record::RecordError;
use acp_wire_api::{Empty, Interface, daemon::GetHealth};

pub use config::Config;

use crate::{answers::Answers, app::App};

/// The daemon.
#[derive(Debug)]
pub struct Api;

impl Daemon for Api {
    const NOUN: &'static str = "api";
    const INTERFACES: fn() -> Vec<Interface> = Vec::new;
    type Config = Config;

    async fn run(config: Config, context: Context) -> Result<(), Fatal> {
        start(&config, &context).await?;
        context.drain.cancelled().await;
        Ok(())
    }
}

/// Starts answering, and returns where HTTP is. It ends with the context's drain.
///
/// # Errors
/// If the configuration is wrong, the address is taken, or kept answers cannot be read.
pub async fn start(config: &Config, context: &Context) -> Result<SocketAddr, Fatal> {
    config.check().map_err(Fatal::config)?;
    let answers = Answers::open(context.paths.state.join("answers")).map_err(|error| unreadable(&error))?;
    let operations = resources::all();
    let document = serde_json::to_vec(&document::of(&operations));
    let document = document.map_err(|error| Fatal::internal(format!("the document cannot be written: {error}")))?;
    let app = Arc::new(App::new(context, answers, document.into()));
    let _server = context.serve(Router::new())?;
    let bound = serve::start(config.listen, routes::router(&app, operations), &context.tasks, &context.drain).await?;
    context.health.degrade("the agent was not reached yet");
    context.tasks.spawn("agent check", check_agent(context.clone()));
    context.ready();
    tracing::info!(listen = %bound, "HTTP is answered");
    Ok(bound)
}

fn unreadable(error: &RecordError) -> Fatal {
    let message = format!("the answers that are kept cannot be read: {error}");
    if error.is_for_the_operator() { Fatal::config(message) } else { Fatal::temporary(message) }
}

/// Looks again and again whether the agent answers, without which no request can be served.
async fn check_agent(context: Context) {
    let agent = context.client.service("agent").deadline(limits::AGENT_CHECK_TIMEOUT);
    let mut ticks = tokio::time::interval(limits::AGENT_CHECK_INTERVAL);
    loop {
        tokio::select! {
            () = context.drain.cancelled() => return,
            _tick = ticks.tick() => {}
        }
        match agent.call::<GetHealth>(Empty {}).await {
            Ok(_health) => context.health.ok(),
            Err(Failure { message, .. }) => context.health.degrade(format!("the agent does not answer: {message}")),
        }
    }
}
