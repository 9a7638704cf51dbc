#![doc = include_str!("../README.md")]
//!
//! The machine's state, as [`service`] reports it:
//! ```text
//! connecting ──greeting──▶ prelaunch ⇄ running ⇄ paused ──SHUTDOWN──▶ shutdown ──▶ gone
//!     ▲                        └──────────┴─────────┴── connection lost ────────────▲
//!     └── bad connection, for a while ──┘                                           │
//! gone ──greeting──▶ (any of the above: QEMU was there after all)
//! ```

mod ailments;
pub mod config;
mod console;
mod error;
mod handlers;
mod lease;
mod machine;
mod metrics;
mod service;

use acp_io_daemon::{Context, Daemon, Fatal};
use acp_wire_api::Interface;

use crate::{ailments::Ailments, config::Config, console::Console, lease::Keeper, service::Monitor};

/// The machine monitor of one system.
#[derive(Clone, Copy, Debug)]
pub struct Vmm;

impl Daemon for Vmm {
    const NOUN: &'static str = "vmm";
    const INTERFACES: fn() -> Vec<Interface> = || vec![acp_wire_api::vmm::interface()];
    type Config = Config;

    async fn run(config: Config, context: Context) -> Result<(), Fatal> {
        config.check().map_err(Fatal::config)?;
        let Some(instance) = context.instance.clone() else {
            return Err(Fatal::config("a vmm belongs to one system: ACP_INSTANCE must be set to its uid"));
        };
        let sockets = context.paths.run.join(Self::NOUN).join(&instance);
        let console = Console::open(&context.paths.state, &config).map_err(|error| {
            Fatal::temporary(format!("the console's log in {} cannot be read: {error}", context.paths.state.display()))
        })?;
        let ailments = Ailments::new(context.health.clone());
        let (monitor, machine) = Monitor::new(sockets.join("qmp.sock"), config.qmp_timeout(), ailments.clone());
        let feed = console.feed(sockets.join("console.sock"), ailments.clone());
        let (run, state) = (&context.paths.run, &context.paths.state);
        let (keeper, lease) = Keeper::open(run, state, &instance, &machine, ailments)
            .map_err(|error| Fatal::temporary(format!("the kernel gives no timer: {error}")))?;
        context.tasks.spawn("lease", until_drained(&context, keeper.run()));
        context.tasks.spawn("qmp", until_drained(&context, monitor.run()));
        context.tasks.spawn("console", until_drained(&context, feed.run()));
        context.serve(handlers::router(&machine, &console, &lease))?;
        context.ready();
        context.drain.cancelled().await;
        Ok(())
    }
}

fn until_drained<F>(context: &Context, work: F) -> impl Future<Output = ()> + Send + use<F>
where
    F: Future<Output = ()> + Send,
{
    let drain = context.drain.clone();
    async move {
        tokio::select! {
            () = work => {}
            () = drain.cancelled() => {}
        }
    }
}
