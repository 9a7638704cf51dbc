#![doc = include_str!("../README.md")]

mod config;
mod declare;
mod dhcp;
mod effects;
mod error;
mod filter;
mod handlers;
mod metrics;
mod observe;
mod report;
mod resolvers;
mod service;
mod snapshot;
mod specs;
mod taps;

use acp_io_client::{ObjectWatch, Reporter, node_name};
use acp_io_daemon::{Context, Daemon, Fatal, Router};
use acp_io_netlink::{Monitor, Netlink};
use acp_wire_api::Interface;
use acp_wire_model::Kind;
use tokio::sync::{mpsc, watch};

pub use config::Config;

/// Calls waiting for the owner of the state: more than a node has systems starting at once. A call beyond waits in its
/// own handler.
const COMMANDS_MAX: usize = 64;

/// The daemon.
#[derive(Debug)]
pub struct Network;

impl Daemon for Network {
    const NOUN: &'static str = "network";
    const INTERFACES: fn() -> Vec<Interface> = || vec![acp_wire_api::network::interface()];
    type Config = Config;

    async fn run(config: Config, mut context: Context) -> Result<(), Fatal> {
        config.check().map_err(Fatal::config)?;
        context.node = node_name(&context.client).await.unwrap_or(context.node);
        let open = |what: &str, error: std::io::Error| Fatal::temporary(format!("cannot open {what}: {error}"));
        let (netlink, driver) = Netlink::open().map_err(|error| open("a netlink connection", error))?;
        spawn(&context, "netlink", driver.run());
        let (monitor, driver) = Monitor::open().map_err(|error| open("a netlink monitor", error))?;
        spawn(&context, "monitor", driver.run());
        let reporter = Reporter::new(context.client.clone(), context.incarnation);
        context.tasks.spawn("reporter", reporter.clone().run(context.drain.clone()));

        let (wanted, wanted_seen) = watch::channel(None);
        let (dhcp_status, dhcp_seen) = watch::channel(dhcp::Status::default());
        let dhcp = dhcp::Dhcp::new(&config, &context, wanted_seen, dhcp_status);
        spawn(&context, "dhcp", dhcp.run());

        let (commands, commands_taken) = mpsc::channel(COMMANDS_MAX);
        let (snapshot, snapshot_seen) = watch::channel(None);
        let mut router = Router::new();
        handlers::routes(&mut router, handlers::Handlers::new(&context, netlink.clone(), commands, snapshot_seen));
        let _server = context.serve(router)?;
        context.ready();

        let inputs = service::Inputs {
            objects: ObjectWatch::new(context.client.clone(), vec![Kind::Network, Kind::System]),
            monitor,
            commands: commands_taken,
            dhcp: dhcp_seen,
        };
        let outputs = service::Outputs { netlink, wanted, reporter, snapshot };
        service::Service::new(&config, &context, outputs).run(inputs, &context).await
    }
}

/// Starts a task that runs until it ends or the drain begins.
fn spawn(context: &Context, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
    let drain = context.drain.clone();
    context.tasks.spawn(name, async move {
        tokio::select! {
            () = drain.cancelled() => {}
            () = future => {}
        }
    });
}
