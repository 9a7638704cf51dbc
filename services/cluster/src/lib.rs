#![doc = include_str!("../README.md")]

mod config;
mod departure;
mod domain;
mod epoch;
mod error;
mod follower;
mod following;
mod founding;
mod handlers;
mod history;
mod identity;
mod intake;
mod keeper;
mod keys;
mod metrics;
mod moves;
mod peers;
mod persist;
mod proposer;
mod replica;
mod service;
mod source;

use std::sync::Arc;

use acp_core_cdb::State;
use acp_io_daemon::{Context, Daemon, Fatal, new_uid};
use acp_io_store::{Recovered, Store};
use acp_wire_api::Interface;
use tokio::sync::{Notify, mpsc, watch};

pub use config::Config;

use crate::{
    domain::Domain,
    error::{RunError, sentence},
    follower::{Follower, Surroundings},
    following::Following,
    handlers::App,
    history::History,
    identity::Record,
    keeper::Keeper,
    moves::Mover,
    proposer::{Hubs, Proposer},
    replica::Replica,
    service::{Announcer, Handle, Service, Snapshots},
};

/// Calls of `Enter` and `Part` that wait: a node makes one at a time.
const SWITCHES_MAX: usize = 4;

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

/// Opens the store, brings the database up to the log's end, follows the log from there, and answers calls until the drain or
/// until the store fails.
async fn run(config: Config, context: Context) -> Result<(), RunError> {
    let (store, recovered) = persist::open(&context.paths.state)?;
    let store = Arc::new(store);
    let state = persist::bring_up(&store, &recovered).await?;
    let record = Record::new(&context.paths.state);
    let identity = persist::identify(&record, &store, &state, &context.node).await?;
    let (failed, mut failure) = mpsc::channel(1);
    let mover = Mover::new(record, identity);
    let (app, database) = start(&config, &context, (store, recovered, state), mover, failed);
    tokio::select! {
        () = context.drain.cancelled() => return Ok(()),
        Some(error) = failure.recv() => return Err(RunError::Store(error)),
        // A new node has nothing to answer until its hub has founded a cluster; a stalled one answers what it has.
        _founded = database.reach(1) => {}
    }
    let _server = context.serve(handlers::router(&Arc::new(app)))?;
    context.ready();
    tokio::select! {
        () = context.drain.cancelled() => Ok(()),
        Some(error) = failure.recv() => Err(RunError::Store(error)),
    }
}

/// Starts every task, from what is stored; answers what the handlers need.
fn start(
    config: &Config,
    context: &Context,
    (store, recovered, state): (Arc<Store>, Recovered, State),
    mover: Mover,
    failed: mpsc::Sender<acp_io_store::StoreError>,
) -> (App, Handle) {
    let stalled = state.stalled().map(ToString::to_string);
    let due = Arc::new(Notify::new());
    let snapshot = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.at.index);
    let mut snapshots = Snapshots::new(snapshot, u64::from(config.snapshot_entries), Arc::clone(&due));
    snapshots.reached(state.index());
    let (noted, noted_index) = watch::channel(state.index());
    let node = mover.identity().node;
    let announcer = Announcer::new(&state, node, &mover.identity().name);
    let peers = announcer.told();
    let (service, database) = Service::new(state, new_uid(), snapshots, announcer);

    let following = Following::new(context.health.clone());
    let (switches, switches_taken) = mpsc::channel(SWITCHES_MAX);
    let (checkpoint, checkpoint_held) = watch::channel(None);
    let replica = Replica::new(Arc::clone(&store), database.clone(), noted, recovered.last);
    let around = Surroundings {
        client: context.client.clone(),
        peers: peers.clone(),
        following: following.clone(),
        checkpoint,
        switches: switches_taken,
        failed,
    };
    let follower = Follower::new(around, replica, mover, stalled);
    let history = History::new(Arc::clone(&store));
    let keeper = Keeper::new(Arc::clone(&store), history.clone(), database.clone(), config.retention(), due);
    let hubs = Hubs::new(context.client.clone(), peers.clone(), following.clone());
    let (proposals, proposal_queue) = mpsc::channel(proposer::PROPOSALS_MAX);

    let (tasks, drain) = (&context.tasks, &context.drain);
    tasks.spawn("database", service.run(drain.clone()));
    tasks.spawn("follower", follower.run(drain.clone()));
    tasks.spawn("keeper", keeper.run(drain.clone()));
    Proposer::start(hubs.clone(), proposal_queue, tasks, drain);
    let around = domain::Surroundings {
        node,
        incarnation: context.incarnation,
        client: context.client.clone(),
        database: database.clone(),
        hubs: hubs.clone(),
        peers: peers.clone(),
    };
    let domain = Domain::start(around, tasks, drain);
    let app = App {
        database: database.clone(),
        proposals,
        hubs,
        store,
        history,
        noted: noted_index,
        peers,
        following,
        checkpoint: checkpoint_held,
        switches,
        shares: Arc::default(),
        domain,
    };
    (app, database)
}
