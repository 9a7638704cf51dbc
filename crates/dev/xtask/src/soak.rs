//! `soak`: a node under load and faults for as long as one likes, drawn from a seed. What is done and compared there is in
//! `tests/e2e/soak.rs`; here it is built and started.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{
    command::{cargo, run, workspace},
    image, needs_root, out, packages,
    test::EVERYTHING,
    up,
};

/// What can be soaked.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// One node.
    Node,
}

/// Which build of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Programs {
    /// As they are shipped.
    Release,
    /// With failpoints, which make steps fail and daemons die between two effects.
    Debug,
}

/// Options of `soak`.
#[derive(Args, Debug)]
pub(crate) struct Soak {
    /// What is soaked
    #[arg(value_enum)]
    what: What,
    /// For how long
    #[arg(long, default_value_t = 30, value_name = "N")]
    minutes: u64,
    /// Repeats the decisions of an earlier run [default: drawn anew]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Which programs run
    #[arg(long, value_enum, default_value_t = Programs::Release)]
    programs: Programs,
}

/// Builds everything and soaks a node of its own.
pub(crate) fn soak(options: &Soak) -> Result<()> {
    let What::Node = options.what;
    needs_root("soaking a node (namespaces, cgroups, users)")?;
    let seed = options.seed.unwrap_or_else(drawn);
    out::line(format_args!("seed {seed}"));
    out::step("Debian packages", |note| {
        *note = packages::ensure(&[packages::NODE, packages::IMAGE].concat())?;
        Ok(())
    })?;
    let mut command = cargo(&["test", "--test", "e2e"]);
    command.args(EVERYTHING).env("ACP_SOAK", format!("{},{seed}", options.minutes.saturating_mul(60)));
    if options.programs == Programs::Release {
        up::build_services()?;
        command.env("ACP_E2E_BIN", workspace().join("target/release"));
    } else {
        out::noisy_step("programs", |_note| run(cargo(&["build", "--bins", "--tests"]).args(EVERYTHING)))?;
    }
    out::step("demo image", image::ensure)?;
    run(&mut command)
}

/// A seed that another run does not have.
fn drawn() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() ^ (u64::from(now.subsec_nanos()) << 32)
}
