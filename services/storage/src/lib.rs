#![doc = include_str!("../README.md")]

mod api;
mod config;
mod handlers;
mod identity;
mod images;
mod jobs;
mod keeper;
mod metrics;
mod persist;
mod pools;
mod service;
mod slots;
mod view;
mod volumes;
pub mod worker;

use std::{io, path::Path};

use acp_base::{Code, Failure};
use acp_io_client::{Reporter, node_name};
use acp_io_daemon::{Context, Daemon, Fatal, Router};
use acp_io_jobs::Jobs;
use acp_wire_api::Interface;
use tokio::sync::watch;

pub use config::Config;
pub use identity::volume_uid;

use api::Api;
use persist::Records;
use view::View;

/// The storage daemon on the chassis.
#[derive(Clone, Copy, Debug)]
pub struct Storage;

impl Daemon for Storage {
    const NOUN: &'static str = "storage";
    const INTERFACES: fn() -> Vec<Interface> =
        || vec![acp_wire_api::storage::interface(), acp_wire_api::jobs::interface()];
    type Config = Config;

    async fn run(config: Config, mut context: Context) -> Result<(), Fatal> {
        context.node = node_name(&context.client).await.unwrap_or(context.node);
        start(config, &context)?;
        context.ready();
        context.drain.cancelled().await;
        Ok(())
    }
}

/// Starts the daemon's tasks and its answers. Returns at once; all of it ends with the context's drain.
pub fn start(config: Config, context: &Context) -> Result<(), Fatal> {
    let state = &context.paths.state;
    let records = Records::open(state).map_err(|error| unusable(state, &error))?;
    let reporter = Reporter::new(context.client.clone(), context.incarnation);
    context.tasks.spawn("reporter", reporter.clone().run(context.drain.clone()));
    let (jobs, interrupted) = Jobs::open(&state.join("jobs"), Storage::NOUN, reporter.clone()).map_err(refused)?;
    let (view, seen) = watch::channel(View::default());
    let api = Api::new(config.clone(), context.clone(), jobs.clone(), records.clone(), seen);
    let service = service::Service::new(config, context.clone(), reporter, records, view);
    context.tasks.spawn("service", service.run());
    context.tasks.spawn("resume", jobs::resume(api.clone(), interrupted));
    let mut router = Router::new();
    acp_io_jobs::routes(&mut router, jobs);
    handlers::routes(&mut router, &api);
    context.serve(router).map(drop)
}

fn refused(failure: Failure) -> Fatal {
    match failure.code {
        Code::FailedPrecondition => Fatal::config(failure.message),
        _ => Fatal::temporary(failure.to_string()),
    }
}

/// A state directory of somebody else's and a file of a newer version need the operator; a full disk may pass.
fn unusable(state: &Path, error: &io::Error) -> Fatal {
    let text = format!("the state directory {}: {error}", state.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData => Fatal::config(text),
        _ => Fatal::temporary(text),
    }
}
