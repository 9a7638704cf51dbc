#![doc = include_str!("../README.md")]

mod accelerator;
mod config;
mod create;
mod effects;
mod entry;
mod handlers;
mod host;
mod lease;
mod metrics;
mod observe;
mod persist;
mod service;
mod start;
mod task;

use acp_io_daemon::{Context, Daemon, Fatal};
use acp_wire_api::Interface;

pub use config::{AcceleratorChoice, Config};

/// The daemon.
#[derive(Clone, Copy, Debug)]
pub struct Hypervisor;

impl Daemon for Hypervisor {
    const NOUN: &'static str = "hypervisor";
    const INTERFACES: fn() -> Vec<Interface> =
        || vec![acp_wire_api::hypervisor::interface(), acp_wire_api::jobs::interface()];
    type Config = Config;

    async fn run(config: Config, context: Context) -> Result<(), Fatal> {
        config.check().map_err(Fatal::config)?;
        start::run(config, context).await
    }
}
