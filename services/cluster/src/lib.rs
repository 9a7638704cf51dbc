#![doc = include_str!("../README.md")]

mod config;
mod error;
mod handlers;
mod keeper;
mod metrics;
mod persist;
mod sequencer;
mod service;

use std::sync::Arc;

use acp_io_daemon::{Context, Daemon, Fatal, new_uid};
use acp_wire_api::Interface;
use tokio::sync::{Notify, mpsc, watch};

pub use config::Config;

use crate::{
    error::{RunError, sentence},
    handlers::App,
    keeper::Keeper,
    sequencer::Sequencer,
    service::{Service, Snapshots},
};

/// The daemon `acp-cluster`.
#[derive(Clone, Copy, Debug)]
pub struct Cluster;

impl Daemon for Cluster {
    const NOUN: &'static str = "cluster";
    const INTERFACES: fn() -> Vec<Interface> = || vec![acp_wire_api::cluster::interface()];
    type Config = Config;

    async fn run(config: Config, context: Context) -> Result<(), Fatal> {
        run(config, context).await.map_err(|error| {
            let message = sentence(&error);
            if error.is_for_the_operator() { Fatal::config(message) } else { Fatal::temporary(message) }
        })
    }
}

/// Opens the store, brings the database up to the log's end, founds the cluster if there is none, and answers calls until
/// the drain or until the store fails.
async fn run(config: Config, context: Context) -> Result<(), RunError> {
    let (store, recovered) = persist::open(&context.paths.state)?;
    let store = Arc::new(store);
    let (state, quorum) = persist::bring_up(&store, &recovered, &context.node).await?;
    let stalled = state.stalled().map(ToString::to_string);
    let applied = state.index();

    let due = Arc::new(Notify::new());
    let snapshot = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.at.index);
    let mut snapshots = Snapshots::new(snapshot, u64::from(config.snapshot_entries), Arc::clone(&due));
    snapshots.reached(applied);
    let (service, handle) = Service::new(state, new_uid(), snapshots);
    let (proposals, proposal_queue) = mpsc::channel(sequencer::PROPOSALS_MAX);
    let (noted, noted_index) = watch::channel(applied);
    let (failed, mut failure) = mpsc::channel(1);
    let sequencer = Sequencer::new(quorum, Arc::clone(&store), handle.clone(), noted, context.health.clone(), failed);
    let keeper = Keeper::new(Arc::clone(&store), handle.clone(), config.retention(), due);

    let tasks = &context.tasks;
    tasks.spawn("database", service.run(context.drain.clone()));
    tasks.spawn("sequencer", sequencer.run(proposal_queue, stalled.clone(), context.drain.clone()));
    tasks.spawn("keeper", keeper.run(context.drain.clone()));

    let app = App::new(context.node.clone(), handle, proposals, Arc::clone(&store), noted_index);
    let _server = context.serve(handlers::router(&Arc::new(app)))?;
    if let Some(reason) = stalled {
        tracing::error!(reason, "the log goes on with what this version cannot apply");
        context.health.degrade(reason);
    }
    context.ready();
    tokio::select! {
        () = context.drain.cancelled() => Ok(()),
        Some(error) = failure.recv() => Err(RunError::Store(error)),
    }
}
