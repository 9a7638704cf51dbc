//! S7: the same disk started twice: by one system, by two, and by hand with QEMU beside.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use acp_dev_testkit::{process, varlink::Conversation};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::outage;
use crate::{
    harness::Case,
    world::{LIMIT, World},
};

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[Case { name: "survive::s7_a_disk_is_never_started_twice", run: twice }];

/// How long QEMU by hand may take to say that it may not; one that gets hold of the disk would run for ever.
const BY_HAND_LIMIT: Duration = Duration::from_secs(10);
/// What QEMU says of a disk that somebody else uses.
const LOCKED: &str = "lock";

fn twice(world: &World) -> Result<()> {
    world.node.run(&["system", "create", "one", "--disk", "16MiB", "--pool", "default", "--wait"])?;
    world.start_system("one")?;
    let disk = disk(world)?;
    refused_to_others(world, &disk)?;
    // Whoever opened the disk may end: what keeps others out is QEMU's.
    let subject = outage::Subject::of(&world.node, "one")?;
    subject.ask_for_volume()?;
    for unit in ["storage-worker@default", "storage", "hypervisor"] {
        outage::kill(&subject, unit)?;
    }
    subject.forget_volume()?;
    refused_to_others(world, &disk)?;
    ensure!(outage::Subject::of(&world.node, "one")?.qemu == subject.qemu, "another QEMU runs the system");
    world.stop_system("one")?;
    by_hand_first(world, &disk)?;
    world.start_system("one").context("the disk is free again")?;
    world.stop_system("one")?;
    world.delete("one")
}

/// The file of the system's disk.
fn disk(world: &World) -> Result<PathBuf> {
    let spec = world.show("one")?.spec;
    let volume = spec["disks"][0]["volume"].as_str().with_context(|| format!("no disk in {spec}"))?;
    let path = world.node.layout().state().join(format!("storage/pools/default/volumes/{volume}.qcow2"));
    ensure!(path.exists(), "there is no {}", path.display());
    Ok(path)
}

/// While the system runs, nobody else gets its disk.
fn refused_to_others(world: &World, disk: &Path) -> Result<()> {
    let running = qemus(world)?;
    world.start_system("one").context("starting what runs is no error")?;
    let mut spec = world.show("one")?.spec;
    spec["nics"] = json!([]);
    let declared = declare(world, &spec)?;
    ensure!(declared["error"] == "acp.error.AlreadyExists", "two systems have one disk: {declared}");
    ensure!(declared["parameters"].to_string().contains("one"), "it is not said who has it: {declared}");
    let path = disk.to_str().context("a path is UTF-8")?;
    let drive = format!("file={path},format=qcow2,if=virtio");
    for command in [
        &["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-drive", &drive][..],
        &["qemu-img", "resize", "--shrink", path, "1M"],
        &["qemu-img", "snapshot", "-c", "x", path],
        &["qemu-img", "commit", path],
    ] {
        let out = Command::new("timeout").arg(BY_HAND_LIMIT.as_secs().to_string()).args(command).output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(!out.status.success() && said.contains(LOCKED), "{command:?} ended with {}: {said}", out.status);
    }
    let now = qemus(world)?;
    ensure!(now == running, "QEMUs were {running:?} and are now {now:?}");
    Ok(())
}

fn declare(world: &World, spec: &Value) -> Result<Value> {
    let parameters = json!({ "kind": "system", "name": "two", "spec": spec });
    Conversation::open(&world.node.socket("cluster"))?.call("acp.cluster.Create", parameters)
}

/// The systems' QEMUs: units with their processes.
fn qemus(world: &World) -> Result<Vec<String>> {
    let units = world.units()?.into_iter().filter(|unit| unit["meta"]["template"] == "qemu");
    Ok(units.map(|unit| format!("{} {}", unit["name"], unit["meta"]["pid"])).collect())
}

/// A QEMU of our own on a disk; it ends with this.
struct ByHand(Child);

impl ByHand {
    /// Starts it and returns when it holds the disk: it answers commands only when all its drives are open. Looking at the
    /// disk instead with a tool of QEMU's would take the very lock that this one is after.
    fn start(disk: &Path) -> Result<Self> {
        let drive = format!("file={},format=qcow2,if=virtio", disk.display());
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-display", "none", "-S", "-qmp", "stdio", "-drive", &drive]);
        let mut by_hand = Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        by_hand
            .0
            .stdin
            .as_mut()
            .context("it has a standard input")?
            .write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
        let mut said = BufReader::new(by_hand.0.stdout.take().context("it has a standard output")?).lines();
        ensure!(
            said.any(|line| line.is_ok_and(|line| line.contains("\"return\""))),
            "QEMU by hand did not get the disk"
        );
        Ok(by_hand)
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        // It has ended already, or is ended here.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Somebody runs QEMU on the disk of a stopped system: the system is not started, and says why.
fn by_hand_first(world: &World, disk: &Path) -> Result<()> {
    let by_hand = ByHand::start(disk)?;
    let said = world.node.acpctl(&["system", "start", "one", "--wait"])?;
    ensure!(said.status != 0, "a system was started on a disk that is used: {}", said.stdout);
    ensure!(
        said.stderr.contains("in use") || said.stderr.contains("used"),
        "the reason is another one: {}",
        said.stderr
    );
    let hand = process::Identity::of(i32::try_from(by_hand.0.id())?).context("QEMU by hand has ended")?;
    hand.signal(Signal::KILL)?;
    hand.wait_gone(LIMIT)?;
    world.stop_system("one")
}
