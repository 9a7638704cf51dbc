#![doc = include_str!("../README.md")]

mod audit;
mod config;
mod error;
mod handlers;
mod metrics;
mod newcomer;
mod persist;
mod presence;
mod service;
mod snapshot;

use std::{path::Path, sync::Arc};

use acp_io_daemon::{Context, Daemon, Fatal};
use acp_io_pki::{Authority, to_hex};
use acp_wire_api::Interface;
use tokio::sync::{mpsc, watch};

pub use config::Config;

use crate::{
    error::StartError,
    handlers::App,
    persist::{Record, Records},
    presence::Presence,
    service::Service,
    snapshot::Snapshot,
};

/// The daemon `acp-hub`.
#[derive(Clone, Copy, Debug)]
pub struct Hub;

impl Daemon for Hub {
    const NOUN: &'static str = "hub";
    const INTERFACES: fn() -> Vec<Interface> = || vec![acp_wire_api::hub::interface()];
    type Config = Config;

    async fn run(config: Config, context: Context) -> Result<(), Fatal> {
        config.check().map_err(Fatal::config)?;
        let (records, record, authority) = open(&context.paths.state)?;
        let snapshot = Snapshot::new(record.state.clone(), authority.clone())
            .map_err(|error| Fatal::internal(format!("cannot write the directory: {error}")))?;

        let (asked, asked_taken) = mpsc::channel(service::ASKED_MAX);
        let (snapshots, snapshots_seen) = watch::channel(Arc::new(snapshot));
        let presence = Presence::default();
        let health = context.health.clone();
        let service = Service::new(records, record, authority, presence.clone(), health, snapshots);
        context.tasks.spawn("membership", service.run(asked_taken, context.drain.clone()));

        let app = App::new(snapshots_seen, asked, presence, config.certificate_lifetime());
        let _server = context.serve(handlers::router(&Arc::new(app)))?;
        context.ready();
        context.drain.cancelled().await;
        Ok(())
    }
}

/// What was kept, and who signs; both belong together, or nothing begins.
fn open(directory: &Path) -> Result<(Records, Record, Option<Arc<Authority>>), StartError> {
    let (records, record) = Records::open(directory)?;
    let damaged = |source| StartError::Inconsistent { path: records.path().to_owned(), source };
    record.state.verify().map_err(damaged)?;
    let authority = match record.state.founded() {
        Some(founded) => {
            let authority = Authority::open(directory, founded.uid).map_err(StartError::Authority)?;
            let authority = authority.filter(|authority| to_hex(authority.certificate()) == founded.authority);
            Some(authority.ok_or_else(|| StartError::OtherAuthority { directory: directory.to_owned() })?)
        }
        None => None,
    };
    Ok((records, record, authority.map(Arc::new)))
}
