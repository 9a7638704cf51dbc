#![doc = include_str!("../README.md")]

mod announce;
mod ask;
mod audit;
mod clocks;
mod config;
mod degraded;
mod error;
mod founding;
mod handlers;
mod housekeeping;
mod keys;
mod log;
mod metrics;
mod newcomer;
mod orders;
mod peers;
mod persist;
mod presence;
mod seat;
mod sight;
mod snapshot;
mod spread;
mod verdicts;
mod voters;

use std::{path::Path, sync::Arc};

use acp_core_membership::State;
use acp_io_daemon::{Context, Daemon, Fatal, Refusals};
use acp_io_pki::{Authority, CheckpointKey};
use acp_wire_api::Interface;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use config::Config;

use crate::{
    clocks::Clocks,
    degraded::Degraded,
    error::StartError,
    founding::Founding,
    handlers::{App, Judge, Keyring, Leases},
    log::Replica,
    orders::{Orders, Proposer},
    peers::Peers,
    persist::Records,
    presence::Presence,
    seat::Seat,
    sight::Sight,
    spread::Spread,
    voters::Reconciler,
};

/// The key with which this hub vouches for positions of the log.
const CHECKPOINT_KEY_FILE: &str = "checkpoint.key";

/// The daemon `acp-hub`.
#[derive(Clone, Copy, Debug)]
pub struct Hub;

impl Daemon for Hub {
    const NOUN: &'static str = "hub";
    const INTERFACES: fn() -> Vec<Interface> = || vec![acp_wire_api::hub::interface()];
    type Config = Config;

    async fn run(config: Config, context: Context) -> Result<(), Fatal> {
        config.check().map_err(Fatal::config)?;
        let conversations = CancellationToken::new();
        let hang_up = conversations.clone().drop_guard();
        let app = Arc::new(build(config, &context, conversations)?);
        begin(&app).await?;
        start(&app, &context);
        let _server = context.serve(handlers::router(&app))?;
        context.ready();
        context.drain.cancelled().await;
        housekeeping::give_way(&app).await;
        drop(hang_up);
        housekeeping::end(&app).await;
        Ok(())
    }
}

/// The parts, none of which does anything yet but the proposer. The conversations with other voters are held until their token is
/// cancelled: a leader that ends asks one of them to lead, after the drain has begun.
fn build(config: Config, context: &Context, conversations: CancellationToken) -> Result<App, StartError> {
    let directory = &context.paths.state;
    let (records, record) = Records::open(directory)?;
    let key = CheckpointKey::ensure(&directory.join(CHECKPOINT_KEY_FILE)).map_err(StartError::Key)?;
    let (key, replica, presence, clocks) = (Arc::new(key), Replica::new(), Presence::default(), Clocks::default());
    let (client, tasks, drain) = (context.client.clone(), context.tasks.clone(), context.drain.clone());
    let peers = Peers::new(client.clone(), replica.clone(), tasks.clone(), conversations);
    let seat = Arc::new(Seat::new(records, record, replica.clone(), peers, tasks.clone()));
    let (queue, taken) = mpsc::channel(orders::QUEUE_MAX);
    let orders = Orders::new(queue, Arc::clone(&seat));
    let proposer = Proposer::new(taken, replica.clone(), Arc::clone(&seat), clocks.clone());
    tasks.spawn("proposer", proposer.run(drain.clone()));
    let spread = Spread::new(replica.clone(), Arc::clone(&seat), presence.clone(), clocks.clone(), Arc::clone(&key));
    let prepared = std::sync::Mutex::default();
    let founding =
        Founding { seat: Arc::clone(&seat), orders: orders.clone(), replica: replica.clone(), client, key, prepared };
    let node = context.node.clone();
    let (leases, refusals, degraded) = (Leases::default(), Refusals::default(), Degraded::new());
    Ok(App {
        node,
        config,
        seat,
        orders,
        replica,
        presence,
        clocks,
        sight: Sight::default(),
        spread,
        degraded,
        founding,
        leases,
        keys: Keyring::default(),
        verdicts: Judge::default(),
        refusals,
        tasks,
        drain,
    })
}

/// Opens the log, and finishes what a crash has interrupted.
async fn begin(app: &App) -> Result<(), StartError> {
    app.seat.open().await?;
    app.founding.resume().await.map_err(StartError::Interrupted)?;
    let snapshot = app.replica.snapshot();
    if app.replica.here().is_some_and(|here| snapshot.is_controller(here)) {
        app.replica.set_authority(authority(&app.seat.directory(), &snapshot.state)?);
    }
    Ok(())
}

/// What goes on beside the handlers.
fn start(app: &Arc<App>, context: &Context) {
    let (seat, replica, tasks, drain) = (&app.seat, &app.replica, &context.tasks, &context.drain);
    tasks.spawn("spread", app.spread.clone().run(drain.clone()));
    let (degraded, health) = (app.degraded.clone(), context.health.clone());
    let watching = degraded.run(Arc::clone(seat), replica.clone(), app.spread.clone(), health, drain.clone());
    tasks.spawn("degraded", watching);
    let client = context.client.clone();
    let presence = app.presence.clone();
    let reconciler = Reconciler::new(Arc::clone(seat), app.orders.clone(), replica.clone(), presence, client);
    tasks.spawn("voters", reconciler.run(drain.clone()));
    tasks.spawn("keys", handlers::keep_keys(Arc::clone(app)));
    tasks.spawn("leases", handlers::expire(Arc::clone(app)));
    tasks.spawn("verdicts", handlers::judge(Arc::clone(app)));
    tasks.spawn("housekeeping", housekeeping::run(Arc::clone(app)));
}

/// Who signs for the cluster of this membership, if there is one; both belong together, or nothing begins.
fn authority(directory: &Path, state: &State) -> Result<Option<Arc<Authority>>, StartError> {
    let Some(founded) = state.founded() else { return Ok(None) };
    let authority = Authority::open(directory, founded.uid).map_err(StartError::Authority)?;
    let authority = authority.filter(|authority| acp_base::to_hex(authority.certificate()) == founded.authority);
    let other = || StartError::OtherAuthority { directory: directory.to_owned() };
    authority.map(Arc::new).map(Some).ok_or_else(other)
}
