#![doc = include_str!("../README.md")]
//!
//! One task owns every unit:
//! ```text
//!  handlers --Command--> service --Input--> machine (acp-core-supervise)
//!     ^                   |  ^                |
//!     '--Snapshot---------'  |                v Output
//!                            '---Event--- effects: spawn, watch, clear up (tasks)
//! ```

mod account;
mod adopt;
mod catalog;
mod commands;
pub mod config;
mod devices;
mod effects;
mod error;
mod handlers;
mod logs;
mod metrics;
mod part;
mod persist;
mod places;
mod prepare;
mod rename;
mod replaced;
mod roles;
mod service;
mod site;
pub mod template;
mod turns;
mod unit;
mod upkeep;

use acp_base::Name;
use acp_io_daemon::{Context, Daemon, Fatal, Identities};
use acp_wire_api::Interface;

use crate::{config::Config, part::PartFile, service::Service, site::Site};

/// The supervisor of a node's units.
#[derive(Clone, Copy, Debug)]
pub struct Framework;

impl Daemon for Framework {
    const NOUN: &'static str = "framework";
    const INTERFACES: fn() -> Vec<Interface> = || vec![acp_wire_api::framework::interface()];
    type Config = Config;

    fn node_name(config: &Config) -> Option<Name> {
        config.node_name.clone()
    }

    fn socket_gid(config: &Config) -> Option<u32> {
        account::acp_gid(config.uid_base).ok()
    }

    async fn run(config: Config, mut context: Context) -> Result<(), Fatal> {
        config.check().map_err(Fatal::config)?;
        if !rustix::process::geteuid().is_root() {
            return Err(Fatal::config(
                "the framework runs units as other users and in control groups: start it as root",
            ));
        }
        let part = PartFile::open(&context.paths.state, &context.node);
        context.node = part.name().clone();
        let site = Site::open(&config, &context)?;
        context.identities = Identities::parse(&site.accounts.identities())?;
        let (service, handle) = Service::open(site, part, &context)?;
        context.serve(handlers::router(&handle))?;
        context.ready();
        service.run().await
    }
}
