//! `lab`: several nodes on one machine, and ways to disturb them.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use acp_dev_lab::{Lab, Loss, Member, MemberName, Plan};
use acp_dev_testkit::node;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::{command::workspace, image, needs_root, out, packages, up};

/// The address of the network for guests that each node gets.
const GUESTS_ADDRESS: &str = "10.77.0.1/24";

/// Options of `lab`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The lab's directory [default: target/lab].
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Builds ACP and starts the nodes n1, n2 ... with the demo image, a pool and a network each.
    Up {
        /// How many nodes.
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// How many domains they are dealt out to.
        #[arg(long, default_value_t = 1)]
        domains: u8,
        /// Uses the programs there instead of a release build.
        #[arg(long)]
        bin_dir: Option<PathBuf>,
    },
    /// Runs a command inside a node: acpctl is in its path.
    Exec {
        node: MemberName,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Lets nothing through between groups of nodes ('n1|n2,n3'), or one way ('n1>n2').
    Cut { groups: String },
    /// Loses a share of a node's packets, each way.
    Loss { node: MemberName, share: Loss },
    /// Lets none of a node's packets through.
    Silence { node: MemberName },
    /// Undoes every cut, loss and silence.
    Heal,
    /// Kills everything of a node at once, as a loss of power would, or one unit of it.
    Kill {
        node: MemberName,
        #[arg(long)]
        unit: Option<String>,
    },
    /// Starts a node again.
    Start { node: MemberName },
    /// Takes every node down.
    Down {
        /// Removes the nodes' state, too.
        #[arg(long)]
        purge: bool,
    },
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    needs_root("a lab (namespaces, cgroups, users)")?;
    let dir = arguments.dir.unwrap_or_else(|| workspace().join("target/lab"));
    match arguments.action {
        Action::Up { nodes, domains, bin_dir } => up(&dir, nodes, domains, bin_dir)?,
        Action::Exec { node, command } => return exec(&Lab::open(&dir)?, node, &command),
        Action::Cut { groups } => Lab::open(&dir)?.cut(&groups)?,
        Action::Loss { node, share } => Lab::open(&dir)?.lose(node, share)?,
        Action::Silence { node } => Lab::open(&dir)?.silence(node)?,
        Action::Heal => Lab::open(&dir)?.heal()?,
        Action::Kill { node, unit } => Lab::open(&dir)?.kill(node, unit.as_deref())?,
        Action::Start { node } => out::step(&format!("{node} started"), |_note| Lab::open(&dir)?.start(node))?,
        Action::Down { purge } => down(Lab::open(&dir)?, purge)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(dir: &Path, nodes: u8, domains: u8, bin_dir: Option<PathBuf>) -> Result<()> {
    out::step("Debian packages", |note| {
        *note = packages::ensure(packages::NODE)?;
        Ok(())
    })?;
    let bin = match bin_dir {
        Some(bin) => std::fs::canonicalize(&bin).with_context(|| format!("there is no {}", bin.display()))?,
        None => {
            up::build_services()?;
            workspace().join("target/release")
        }
    };
    let image = out::step("demo image", image::ensure)?;
    let image = image.to_str().context("the image's path is no UTF-8")?.to_owned();
    let lab = Lab::plan(dir, Plan { nodes, domains, bin })?;
    out::step("network", |_note| lab.wire())?;
    out::step("nodes", |note| {
        *note = format!("n1 to n{nodes}");
        lab.each(|member| lab.start(member.name))
    })?;
    out::step("pool, network and image on each", |_note| lab.each(|member| equip(member, &image)))?;
    let elsewhere =
        if dir == workspace().join("target/lab") { String::new() } else { format!(" --dir {}", dir.display()) };
    out::line("\nGo on with:\n");
    out::line(format_args!("  cargo xtask lab{elsewhere} exec n1 -- acpctl status"));
    out::line(format_args!("  cargo xtask lab{elsewhere} cut 'n1|n2'"));
    out::line(format_args!("  cargo xtask lab{elsewhere} heal"));
    out::line(format_args!("  cargo xtask lab{elsewhere} down"));
    Ok(())
}

/// Gives a node what systems need, as far as it lacks it.
fn equip(member: &Member, image: &str) -> Result<()> {
    let wanted: [(&str, &str, &[&str]); 3] = [
        ("pool", "default", &["pool", "create", "default"]),
        ("network", "default", &["network", "create", "default", "--address", GUESTS_ADDRESS]),
        ("image", "demo", &["image", "import", "demo", image, "--wait"]),
    ];
    for (kind, name, create) in wanted {
        let listed: Vec<Value> = serde_json::from_str(&acpctl(member, &["-o", "json", kind, "list"])?)
            .with_context(|| format!("`acpctl {kind} list` printed no list"))?;
        if !listed.iter().any(|object| object["name"] == name) {
            acpctl(member, create)?;
        }
    }
    Ok(())
}

fn acpctl(member: &Member, arguments: &[&str]) -> Result<String> {
    let said = node::acpctl(&member.layout, arguments)?;
    if said.status == 0 {
        return Ok(said.stdout);
    }
    bail!("`acpctl {}` ended with status {}: {}{}", arguments.join(" "), said.status, said.stdout, said.stderr)
}

/// Ends as the command does; a signal counts as shells count it.
fn exec(lab: &Lab, node: MemberName, words: &[String]) -> Result<ExitCode> {
    let status = lab.command(node, words)?.status().with_context(|| format!("cannot run {}", words[0]))?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn down(lab: Lab, purge: bool) -> Result<()> {
    out::step("lab taken down", |note| {
        let forced = lab.down(purge)?;
        *note = if forced.is_empty() { "in order".to_owned() } else { format!("by force: {}", forced.join("; ")) };
        Ok(())
    })?;
    out::line("no process, link, mount, cgroup or namespace of it is left");
    Ok(())
}
