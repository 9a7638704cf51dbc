//! `acp-dev-bench NAME`: runs one bench; called by `cargo xtask bench`.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use acp_dev_bench::{Report, Setup, footprint, local_call, recover, system_start, watch};
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
    let setup = Setup { bin: arguments.bin_dir.clone(), image: arguments.image.clone() };
    match arguments.name {
        Bench::LocalCall => local_call::run(&setup).map(Some),
        Bench::SystemStart => system_start::run(&setup).map(Some),
        Bench::Footprint => footprint::run(&setup).map(Some),
        Bench::Recover => recover::run(&setup).map(Some),
        Bench::Watch => watch::run(&setup).map(Some),
        Bench::RawServer => local_call::serve_raw().map(|()| None),
    }
}
