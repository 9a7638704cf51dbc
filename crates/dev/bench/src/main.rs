//! `acp-dev-bench NAME`: runs one bench; called by `cargo xtask bench`.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use acp_dev_bench::{
    Peers, Report, Setup, api, bare_tls, catch_up, detect, failover_leader, footprint, join, lease_load, local_call,
    propagate, reads, recover, remote_call, scale, spec_write, system_start, tunnel, watch,
};
use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Measures a promised figure beside its peer.
#[derive(Parser, Debug)]
struct Arguments {
    /// Which bench.
    name: Bench,
    /// The programs of ACP, in release mode.
    #[arg(long)]
    bin_dir: PathBuf,
    /// The demo image.
    #[arg(long)]
    image: PathBuf,
    /// Where the packages of the peers were unpacked.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bench {
    /// A local call against a raw ping-pong of the same bytes.
    LocalCall,
    /// Starting a system against starting QEMU by hand.
    SystemStart,
    /// Memory of the daemons of an idle node, and of a vmm.
    Footprint,
    /// Killing each daemon twenty times until it does its work again.
    Recover,
    /// Listing 10,000 objects; from publishing to the watch event.
    Watch,
    /// A call through both agents against a bare TLS exchange and nginx.
    RemoteCall,
    /// A bulk stream through both agents against bare TLS.
    Tunnel,
    /// Reading one object through the HTTP API, beside etcd and LXD.
    Api,
    /// From a token to a node that can be called.
    Join,
    /// Writes of specs with three voters, beside etcd.
    SpecWrite,
    /// From the death of the leader to the next write, beside etcd.
    FailoverLeader,
    /// Linearizable reads, beside etcd's.
    LinearRead,
    /// Reads of what a node has, beside etcd's serializable ones.
    LocalRead,
    /// A node that has missed 100,000 entries.
    CatchUp,
    /// The leader's table with the sessions of 1,000 nodes.
    LeaseLoad,
    /// What 100, 300 and 1,000 nodes cost each of them.
    Scale,
    /// From a node's silence, and from its death, to the hub's verdict, beside serf.
    Detect,
    /// From publishing on one node to the event on another, beside etcd.
    Propagate,
    /// The far side of bare TLS; started by `remote-call` and `tunnel`.
    #[value(hide = true)]
    TlsServer,
    /// The far side of the raw ping-pong; started by `local-call`.
    #[value(hide = true)]
    RawServer,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(Some(report)) => {
            let text = if arguments.json { report.to_json() + "\n" } else { report.to_table() };
            drop(std::io::stdout().write_all(text.as_bytes()));
            if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Option<Report>> {
    let setup = Setup {
        bin: arguments.bin_dir.clone(),
        image: arguments.image.clone(),
        peers: arguments.peers.as_deref().map(Peers::new).transpose()?,
    };
    match arguments.name {
        Bench::LocalCall => local_call::run(&setup).map(Some),
        Bench::SystemStart => system_start::run(&setup).map(Some),
        Bench::Footprint => footprint::run(&setup).map(Some),
        Bench::Recover => recover::run(&setup).map(Some),
        Bench::Watch => watch::run(&setup).map(Some),
        Bench::RemoteCall => remote_call::run(&setup).map(Some),
        Bench::Tunnel => tunnel::run(&setup).map(Some),
        Bench::Api => api::run(&setup).map(Some),
        Bench::Join => join::run(&setup).map(Some),
        Bench::SpecWrite => spec_write::run(&setup).map(Some),
        Bench::FailoverLeader => failover_leader::run(&setup).map(Some),
        Bench::LinearRead => reads::run_linear(&setup).map(Some),
        Bench::LocalRead => reads::run_local(&setup).map(Some),
        Bench::CatchUp => catch_up::run(&setup).map(Some),
        Bench::LeaseLoad => lease_load::run().map(Some),
        Bench::Scale => scale::run().map(Some),
        Bench::Propagate => propagate::run(&setup).map(Some),
        Bench::Detect => detect::run(&setup).map(Some),
        Bench::TlsServer => bare_tls::serve().map(|()| None),
        Bench::RawServer => local_call::serve_raw().map(|()| None),
    }
}
