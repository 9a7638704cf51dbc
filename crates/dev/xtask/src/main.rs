//! The project's own commands: `cargo xtask ...`.
//!
//! Deliberately not here: anything a node does. xtask starts the real daemons and asks them.
//!
//! **Invariant**: `test` and `check` read, `fix` writes; nothing outside the workspace's `target` is changed but Debian's
//! packages, and that is said.

mod check;
mod command;
mod deny;
mod image;
mod lab;
mod layers;
mod metadata;
mod mutants;
mod new_service;
mod out;
mod packages;
mod peers;
mod soak;
mod test;
mod tidy;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The exit status for "this needs rights that you do not have".
const EXIT_NEEDS_ROOT: u8 = 77;

/// Builds, runs and checks ACP.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Builds ACP, boots a node under target/acp and a demo system on it.
    Up(up::Up),
    /// Stops everything that `up` started.
    Down(up::Down),
    /// Runs every check and every test.
    Test(test::Test),
    /// Runs the checks that need no tests: fmt, tidy, layers, deny, clippy.
    Check,
    /// Mends format, simple lints and generated pages.
    Fix,
    /// Checks the direction of dependencies between the crates.
    Layers,
    /// Checks the house rules that no compiler knows.
    Tidy,
    /// Measures a promised figure beside its peer.
    Bench {
        /// local-call, system-start, footprint, recover, watch, remote-call, tunnel, api, join, spec-write, failover-leader,
        /// linear-read, local-read, catch-up, lease-load, scale, propagate or detect
        name: String,
        /// Prints one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Runs a node under load and faults drawn from a seed, and compares everything.
    Soak(soak::Soak),
    /// Breaks the product in known ways, in a copy, and demands that tests fail.
    Mutants {
        /// Only patches whose names contain one of these
        words: Vec<String>,
    },
    /// Runs several nodes on this machine, and disturbs them.
    Lab(lab::Arguments),
    /// Makes the folder of a new service.
    NewService {
        /// Its noun: small letters.
        noun: String,
    },
    /// Builds the demo image under target/acp-image, unless it is there.
    Image,
}

/// Something needs root and we are not.
#[derive(Debug)]
struct NeedsRoot(String);

impl std::fmt::Display for NeedsRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} needs root; run it as root or with sudo", self.0)
    }
}

impl std::error::Error for NeedsRoot {}

/// Fails with what it was for, unless this is root.
fn needs_root(purpose: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(NeedsRoot(purpose.to_owned()).into()) }
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().action) {
        Ok(code) => code,
        Err(error) => {
            out::line(format_args!("error: {error:#}"));
            let missing_rights = error.chain().any(|cause| cause.is::<NeedsRoot>());
            if missing_rights { ExitCode::from(EXIT_NEEDS_ROOT) } else { ExitCode::FAILURE }
        }
    }
}

fn dispatch(action: Action) -> Result<ExitCode> {
    let done = match action {
        Action::Up(options) => up::up(&options),
        Action::Down(options) => up::down(&options),
        Action::Test(options) => test::test(&options),
        Action::Check => check::check(),
        Action::Fix => check::fix(),
        Action::Layers => out::step("layers", |_note| layers::check(&metadata::Metadata::load()?)),
        Action::Tidy => out::step("tidy", |note| {
            *note = tidy::check()?;
            Ok(())
        }),
        Action::Bench { name, json } => test::bench(&name, json),
        Action::Soak(options) => soak::soak(&options),
        Action::Mutants { words } => mutants::mutants(&words),
        Action::Lab(arguments) => return lab::run(arguments),
        Action::NewService { noun } => new_service::make(&noun),
        Action::Image => out::step("demo image", |note| image::ensure(note).map(drop)),
    };
    done.map(|()| ExitCode::SUCCESS)
}
