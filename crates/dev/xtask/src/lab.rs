//! `lab`: several nodes on one machine, and ways to disturb them.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use acp_dev_lab::{Lab, Loss, MemberName, Plan, Standing};
use acp_dev_testkit::objects;
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::{command::workspace, image, needs_root, out, packages, up};

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
    /// Builds ACP and starts the nodes n1, n2 ... as one cluster, with the demo image, a pool and a network each.
    Up {
        /// How many nodes.
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// How many domains they are dealt out to.
        #[arg(long, default_value_t = 1)]
        domains: u8,
        /// How many voters the control plane has: 1, 3 or 5 [default: as many as the cluster decides by itself]
        #[arg(long)]
        voters: Option<u8>,
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
    Cut {
        groups: String,
        /// No multicast, as behind a switch that drops it; everything else passes
        #[arg(long)]
        multicast: bool,
    },
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
    /// Starts a node again and waits until it is back in its cluster.
    Start { node: MemberName },
    /// Kills everything of a node at once, and starts it again.
    Restart { node: MemberName },
    /// Stops every process of a node where it stands, as a suspended machine does.
    Freeze { node: MemberName },
    /// Lets the processes of a node go on.
    Thaw { node: MemberName },
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
        Action::Up { nodes, domains, voters, bin_dir } => {
            let bin = bin_dir.clone().unwrap_or_else(|| workspace().join("target/release"));
            up(&dir, Plan { nodes, domains, voters, bin, second_bin: None }, bin_dir.is_none())?;
        }
        Action::Exec { node, command } => return exec(&Lab::open(&dir)?, node, &command),
        Action::Cut { groups, multicast: false } => Lab::open(&dir)?.cut(&groups)?,
        Action::Cut { groups, multicast: true } => Lab::open(&dir)?.deafen(&groups)?,
        Action::Loss { node, share } => Lab::open(&dir)?.lose(node, share)?,
        Action::Silence { node } => Lab::open(&dir)?.silence(node)?,
        Action::Heal => Lab::open(&dir)?.heal()?,
        Action::Kill { node, unit } => Lab::open(&dir)?.kill(node, unit.as_deref())?,
        Action::Start { node } => start(&Lab::open(&dir)?, node)?,
        Action::Restart { node } => restart(&Lab::open(&dir)?, node)?,
        Action::Freeze { node } => Lab::open(&dir)?.freeze(node, true)?,
        Action::Thaw { node } => Lab::open(&dir)?.freeze(node, false)?,
        Action::Down { purge } => down(Lab::open(&dir)?, purge)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(dir: &Path, plan: Plan, builds: bool) -> Result<()> {
    let bin = if builds { Ok(plan.bin.clone()) } else { std::fs::canonicalize(&plan.bin) };
    let bin = bin.with_context(|| format!("there is no {}", plan.bin.display()))?;
    let (nodes, plan) = (plan.nodes, Plan { bin, ..plan });
    if stands(dir, &plan)? {
        out::line(format_args!("the lab stands: n1 to n{nodes} in one cluster; nothing was built or changed"));
        return Ok(());
    }
    out::step("Debian packages", |note| {
        *note = packages::ensure(packages::NODE)?;
        Ok(())
    })?;
    if builds {
        up::build_services()?;
    }
    let image = out::step("demo image", image::ensure)?;
    raise(dir, plan, image.to_str().context("the image's path is no UTF-8")?)?;
    print_next(dir, nodes);
    Ok(())
}

/// Whether the lab that is asked for is there and lacks nothing.
fn stands(dir: &Path, plan: &Plan) -> Result<bool> {
    let Some(lab) = Lab::find(dir)?.filter(|lab| lab.planned() == plan) else { return Ok(false) };
    if !lab.is_united()? {
        return Ok(false);
    }
    lab.members().iter().try_fold(true, |all, member| Ok(all && objects::is_equipped(&member.layout)?))
}

/// Makes whatever the lab lacks.
fn raise(dir: &Path, plan: Plan, image: &str) -> Result<()> {
    let started = Instant::now();
    let lab = Lab::plan(dir, plan)?;
    out::step("network", |_note| lab.wire())?;
    out::step("nodes", |note| {
        *note = format!("n1 to n{}", lab.members().len());
        lab.each(|member| lab.start(member.name))
    })?;
    out::step("cluster", |note| {
        note.push_str(if lab.unite()? { "n1 has made it, the others have joined" } else { "there" });
        Ok(())
    })?;
    out::step("voters", |note| {
        *note = lab.wait_voters()?.names().join(", ");
        Ok(())
    })?;
    out::step("pool, network and image on each", |_note| {
        lab.each(|member| objects::equip(&member.layout, image).map(drop))
    })?;
    out::line(format_args!("ready after {}", out::seconds(started.elapsed())));
    Ok(())
}

fn print_next(dir: &Path, nodes: u8) {
    let elsewhere =
        if dir == workspace().join("target/lab") { String::new() } else { format!(" --dir {}", dir.display()) };
    out::line("\nGo on with:\n");
    let far = format!("exec n{nodes} -- acpctl --node n1 status");
    for words in ["exec n1 -- acpctl node list", &far, "cut 'n1|n2'", "heal", "down"] {
        out::line(format_args!("  cargo xtask lab{elsewhere} {words}"));
    }
}

/// Starts a node and waits until it has its place again.
fn start(lab: &Lab, node: MemberName) -> Result<()> {
    out::step(&format!("{node} started"), |note| {
        lab.start(node)?;
        note.push_str(match lab.settle(node)? {
            Standing::Member => "it is back in its cluster",
            Standing::Orphan => "too few others run: its cluster has no control plane",
            Standing::Alone => "it is in no cluster",
        });
        Ok(())
    })
}

fn restart(lab: &Lab, node: MemberName) -> Result<()> {
    lab.kill(node, None)?;
    start(lab, node)
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
