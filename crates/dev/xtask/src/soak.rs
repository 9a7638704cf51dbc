//! `soak`: what takes longer than the gate has. A node, or a cluster of five, under load and faults drawn from a seed, for as long as
//! one likes; packets that are lost; the quorum's leader lost again and again; clusters in which every second node runs an earlier version. What is done and compared
//! there is in `tests/e2e`; here it is built and started.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::{
    command::{cargo, command, output, run, workspace},
    image, needs_root, out, packages,
    test::EVERYTHING,
    up,
};

/// What can be soaked.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// One node, for some minutes.
    Node,
    /// Five nodes with guests and a workload, for some minutes.
    Cluster,
    /// The cases of five nodes that lose packets or fall silent, each for some minutes.
    Loss,
    /// The quorum's cases, each leader lost some times.
    Quorum,
    /// The cases of members, in clusters of this version and an earlier one.
    Mixed,
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
    /// quorum: how often the leader meets each of its fates
    #[arg(long, default_value_t = 20, value_name = "N")]
    rounds: usize,
    /// mixed: the earlier version
    #[arg(long, value_name = "COMMIT", required_if_eq("what", "mixed"))]
    from: Option<String>,
}

/// The cases of clusters that every mix of versions passes.
const MIXED: [&str; 3] = ["quorum::s1_", "quorum::s3_", "nodes::members_"];

/// Builds everything and runs what is asked for.
pub(crate) fn soak(options: &Soak) -> Result<()> {
    needs_root("soaking a node (namespaces, cgroups, users)")?;
    out::step("Debian packages", |note| {
        *note = packages::ensure(&[packages::NODE, packages::IMAGE].concat())?;
        Ok(())
    })?;
    let mut command = cargo(&["test", "--test", "e2e"]);
    command.args(EVERYTHING).env("ACP_E2E_STRICT", "1");
    if options.programs == Programs::Release {
        up::build_services()?;
        command.env("ACP_E2E_BIN", workspace().join("target/release"));
    } else {
        out::noisy_step("programs", |_note| run(cargo(&["build", "--bins", "--tests"]).args(EVERYTHING)))?;
    }
    out::step("demo image", image::ensure)?;
    match options.what {
        What::Node => at_random(&mut command, "node", options),
        What::Cluster => at_random(&mut command, "cluster", options),
        What::Loss => drop(command.env("ACP_LOSS_SECONDS", seconds(options).to_string()).args([
            "--",
            "domain::s2_",
            "domain::s3_",
        ])),
        What::Quorum => drop(command.env("ACP_QUORUM_ROUNDS", options.rounds.to_string()).args(["--", "quorum::"])),
        What::Mixed => {
            let commit = options.from.as_deref().context("--from says which version")?;
            let earlier = out::noisy_step("the earlier version", |_note| earlier(commit))?;
            command.env("ACP_E2E_SECOND_BIN", earlier).arg("--").args(MIXED);
        }
    }
    run(&mut command)
}

/// Has a soak of random faults done.
fn at_random(command: &mut Command, what: &str, options: &Soak) {
    let seed = options.seed.unwrap_or_else(drawn);
    out::line(format_args!("seed {seed}"));
    command.env("ACP_SOAK", format!("{what},{},{seed}", seconds(options)));
}

const fn seconds(options: &Soak) -> u64 {
    options.minutes.saturating_mul(60)
}

/// Builds the daemons of a commit from a copy of its own, whose target directory is kept, so that a second run builds little;
/// answers where they lie.
fn earlier(commit: &str) -> Result<PathBuf> {
    let dir = workspace().join("target/mixed");
    let (tree, archive) = (dir.join("tree"), dir.join("tree.tar"));
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
    let mut packed = command("git", &["archive", "--format=tar", "--output"]);
    output(packed.arg(&archive).arg(commit).current_dir(workspace()))
        .with_context(|| format!("there is no commit {commit:?}"))?;
    output(command("tar", &["--extract", "--touch", "--file"]).arg(&archive).arg("--directory").arg(&tree))?;
    fs::remove_file(&archive).context("cannot remove the archive")?;
    let mut build = cargo(&["build", "--bins"]);
    run(build.args(EVERYTHING).current_dir(&tree).env("CARGO_TARGET_DIR", dir.join("target")))?;
    Ok(dir.join("target/debug"))
}

/// A seed that another run does not have.
fn drawn() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() ^ (u64::from(now.subsec_nanos()) << 32)
}
