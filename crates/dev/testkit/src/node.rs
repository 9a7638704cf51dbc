//! A node as an operator has it: commands, sockets, processes.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    Layout, cgroup,
    guard::{self, Options},
    process::Identity,
    wait_for,
};

/// How long a node may take until it answers: all daemons start within a second on an idle machine; tests run beside builds.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// What a command said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The exit status; -1 if a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error output.
    pub stderr: String,
}

/// Runs `acpctl` against a node.
pub fn acpctl(layout: &Layout, arguments: &[&str]) -> Result<Said> {
    let out = acpctl_command(layout).args(arguments).output().context("cannot run acpctl")?;
    Ok(Said {
        status: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    })
}

/// Runs `acpctl` against a node, which has to succeed, and answers what it printed.
pub fn run(layout: &Layout, arguments: &[&str]) -> Result<String> {
    let said = acpctl(layout, arguments)?;
    let Said { status, stdout, stderr } = said;
    ensure!(status == 0, "`acpctl {}` ended with status {status}: {stdout}{stderr}", arguments.join(" "));
    Ok(stdout)
}

/// The command itself, for those that run it beside other things.
pub fn acpctl_command(layout: &Layout) -> Command {
    let mut command = Command::new(layout.bin().join("acpctl"));
    command.env("ACP_RUN_DIR", layout.run()).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Waits until every unit of the node is ready.
pub fn wait_ready(layout: &Layout) -> Result<()> {
    wait_for("the node to be ready", READY_LIMIT, || {
        let said = acpctl(layout, &["status"]).map_err(|error| format!("{error:#}"))?;
        if said.status == 0 { Ok(()) } else { Err(format!("{}{}", said.stdout, said.stderr)) }
    })
}

/// The main process of a unit of a node.
pub fn unit_process(layout: &Layout, unit: &str) -> Result<Identity> {
    let asked = serde_json::json!({ "name": unit });
    let reply = crate::varlink::call(&layout.socket("framework"), "acp.framework.GetUnit", asked)?;
    let pid = reply["unit"]["meta"]["pid"].as_i64().with_context(|| format!("unit {unit} has no process: {reply}"))?;
    Identity::of(i32::try_from(pid)?).with_context(|| format!("the process {pid} of unit {unit} has ended"))
}

/// Kills the guard and everything else of a node at once, as a loss of power would, and waits until it is gone. All of them
/// are stopped first, so that none sees another's end and acts on it.
pub fn kill_everything(layout: &Layout) -> Result<()> {
    let record = crate::record::Record::load(layout)?.context("the node was never started")?;
    record.guard.signal(Signal::STOP)?;
    cgroup::processes(&layout.name()).iter().try_for_each(|process| process.signal(Signal::STOP))?;
    record.guard.signal(Signal::KILL)?;
    cgroup::kill(&layout.name())?;
    record.guard.wait_gone(READY_LIMIT)
}

/// Stops the guard and everything else of a node where it stands, as a suspended machine does, or lets all of them go on.
pub fn freeze(layout: &Layout, is_frozen: bool) -> Result<()> {
    let record = crate::record::Record::load(layout)?.context("the node was never started")?;
    let signal = if is_frozen { Signal::STOP } else { Signal::CONT };
    record.guard.signal(signal)?;
    cgroup::processes(&layout.name()).iter().try_for_each(|process| process.signal(signal))
}

/// A node of its own for tests and benches, gone when it is dropped.
#[derive(Debug)]
pub struct Node {
    layout: Layout,
    options: Options,
}

impl Node {
    /// Starts a node in a temporary directory and waits until it is ready. It gets the programs in `bin` as its own, so
    /// that a build beside it changes nothing and an upgrade of it concerns nobody else.
    pub fn start(bin: &Path) -> Result<Self> {
        let node = Self::prepare(bin)?;
        node.boot()?;
        Ok(node)
    }

    /// The same, not started yet: for whoever puts something into its directory first.
    pub fn prepare(bin: &Path) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/tmp/acp-{}-{number}", std::process::id()));
        let own = dir.join("bin");
        install(bin, &own)?;
        let layout = Layout::new(&dir, &own)?;
        Ok(Self { layout, options: Options { node: "n1".to_owned(), host_network: false } })
    }

    /// Starts it, after [`Node::kill_everything`] or [`Node::shut_down`] again, and waits until it is ready.
    pub fn boot(&self) -> Result<()> {
        guard::ensure(&self.layout, &self.options)?;
        wait_ready(&self.layout)
    }

    /// Its places.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A daemon's socket.
    pub fn socket(&self, noun: &str) -> PathBuf {
        self.layout.socket(noun)
    }

    /// Runs `acpctl` and answers how it ended.
    pub fn acpctl(&self, arguments: &[&str]) -> Result<Said> {
        acpctl(&self.layout, arguments)
    }

    /// Runs `acpctl`, which has to succeed, and answers what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        run(&self.layout, arguments)
    }

    /// Runs `acpctl -o json`, which has to succeed, and answers what it printed as a value.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[&["-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).with_context(|| format!("acpctl -o json {} printed {text:?}", arguments.join(" ")))
    }

    /// Every process of the node.
    pub fn processes(&self) -> Vec<Identity> {
        cgroup::processes(&self.layout.name())
    }

    /// The main process of a unit.
    pub fn unit_process(&self, unit: &str) -> Result<Identity> {
        unit_process(&self.layout, unit)
    }

    /// Kills the guard and everything else of the node at once, as a loss of power would, and waits until it is gone. All of
    /// them are stopped first, so that none sees another's end and acts on it.
    pub fn kill_everything(&self) -> Result<()> {
        kill_everything(&self.layout)
    }

    /// Takes it down in order and verifies that nothing is left but its directory.
    pub fn shut_down(&self) -> Result<()> {
        let forced = guard::take_down_and_verify(&self.layout)?;
        if forced.is_empty() { Ok(()) } else { bail!("the node did not stop by itself: {}", forced.join("; ")) }
    }
}

/// Puts ACP's programs of one directory into another, each by a rename over what was there, as a package manager does.
pub fn install(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry?.path();
        let is_program = path.extension().is_none() && path.is_file();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.starts_with("acp")) else {
            continue;
        };
        if is_program {
            let aside = to.join(format!("{name}.new"));
            std::fs::hard_link(&path, &aside)
                .or_else(|_other_file_system| std::fs::copy(&path, &aside).map(drop))
                .with_context(|| format!("cannot install {}", path.display()))?;
            std::fs::rename(&aside, to.join(name)).with_context(|| format!("cannot install {name}"))?;
        }
    }
    Ok(())
}

impl Drop for Node {
    fn drop(&mut self) {
        let down = guard::take_down_and_verify(&self.layout);
        let removed = std::fs::remove_dir_all(self.layout.dir());
        if let Err(error) = down.and_then(|_forced| removed.context("cannot remove the node's directory")) {
            let said = format!("{}: {error:#}", self.layout.dir().display());
            assert!(std::thread::panicking(), "a node was not taken down cleanly: {said}");
            eprintln!("a node was not taken down cleanly: {said}");
        }
    }
}
