//! Daemons that die, alone and all at once.

use acp_dev_testkit::{node, process::Identity, wait_for};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use crate::world::{LIMIT, World};

fn qemu(world: &World, name: &str) -> Result<Identity> {
    let pid = world.wait_state(name, "running", LIMIT)?["pid"].as_i64().context("a running system has a process")?;
    Identity::of(i32::try_from(pid)?).context("its process has ended")
}

/// Kills a unit and waits until another process has taken its place and is ready.
fn kill_and_wait(world: &World, unit: &str) -> Result<()> {
    let killed = world.node.unit_process(unit)?;
    killed.signal(Signal::KILL)?;
    wait_for(&format!("unit {unit} to be ready again"), LIMIT, || {
        let reply = world
            .call("framework", "acp.framework.GetUnit", json!({ "name": unit }))
            .map_err(|error| format!("{error:#}"))?;
        let meta = &reply["unit"]["meta"];
        if meta["state"] == "ready" && meta["pid"] != json!(killed.pid) { Ok(()) } else { Err(meta.to_string()) }
    })
}

pub(crate) fn one_by_one(world: &World) -> Result<()> {
    world.create("steady")?;
    world.start_system("steady")?;
    let address = world.wait_greeting("steady", 1)?;
    let guest = qemu(world, "steady")?;
    let instance = world.show("steady")?.uid.replace('-', "");
    let vmm = format!("vmm@{instance}");
    for unit in ["cluster", "storage", "storage-worker@default", "network", "hypervisor", &vmm] {
        kill_and_wait(world, unit)?;
        ensure!(guest.is_alive(), "the guest died with {unit}");
    }
    kill_framework(world)?;
    node::wait_ready(world.node.layout())?;
    ensure!(guest.is_alive(), "the guest died with the framework");
    ensure!(world.page(address)?.contains("<h1>steady</h1>"), "the guest is not reachable any more");
    ensure!(qemu(world, "steady")? == guest, "the node lost track of the guest");
    world
        .node
        .run(&["--yes", "system", "shutdown", "steady", "--wait"])
        .context("the node controls the guest no more")?;
    world.delete("steady")
}

/// Kills the framework; its guard starts another, which must adopt every unit.
fn kill_framework(world: &World) -> Result<()> {
    let units = |world: &World| -> Result<Vec<String>> {
        let mut units: Vec<String> =
            world.units()?.iter().map(|unit| format!("{} {}", unit["name"], unit["meta"]["pid"])).collect();
        units.sort();
        Ok(units)
    };
    let before = units(world)?;
    let health = world.call("framework", "acp.daemon.GetHealth", json!({}))?;
    let framework =
        Identity::of(i32::try_from(health["pid"].as_i64().context("a pid")?)?).context("the framework runs")?;
    framework.signal(Signal::KILL)?;
    framework.wait_gone(LIMIT)?;
    wait_for("the framework to have adopted every unit", LIMIT, || {
        let after = units(world).map_err(|error| format!("{error:#}"))?;
        if after == before { Ok(()) } else { Err(format!("{after:?}, before {before:?}")) }
    })
}

pub(crate) fn all_at_once(world: &World) -> Result<()> {
    world.create("survivor")?;
    world.start_system("survivor")?;
    world.node.run(&["volume", "create", "default/kept", "--size", "4MiB"])?;
    let uid = world.show("survivor")?.uid;
    let (index, hash) = world.log_position()?;
    // Acknowledged, and gone with everything else the moment after.
    world.node.run(&["network", "create", "late", "--address", "10.78.0.1/24"])?;
    world.node.kill_everything()?;
    world.node.boot()?;

    let shown = world.show("survivor")?;
    ensure!(shown.uid == uid, "it is another system now");
    let verified = world.call("cluster", "acp.cluster.VerifyLog", json!({}))?;
    ensure!(verified["broken_at"].is_null(), "the log does not verify: {verified}");
    let position = world.log_position()?;
    ensure!(position.0.as_u64() > index.as_u64(), "the log is shorter than {index} {hash}: {position:?}");
    let networks = world.node.json(&["network", "list"])?;
    ensure!(networks.to_string().contains("\"late\""), "an acknowledged network is lost: {networks}");
    wait_for("the volumes to be there", LIMIT, || {
        let volumes = world.node.json(&["volume", "list"]).map_err(|error| format!("{error:#}"))?;
        if volumes.to_string().contains("default/kept") { Ok(()) } else { Err(volumes.to_string()) }
    })?;
    comes_back(world)?;
    world.delete("survivor")?;
    world.node.run(&["--yes", "volume", "delete", "default/kept"])?;
    world.node.run(&["--yes", "network", "delete", "late"]).map(drop)
}

/// The system was meant to run: its node brings it up again, or says that it stands still and lets itself be told.
fn comes_back(world: &World) -> Result<()> {
    world.start_system("survivor")?;
    let address = world.wait_greeting("survivor", 1)?;
    ensure!(world.page(address)?.contains("<h1>survivor</h1>"), "it runs and serves another page");
    world.stop_system("survivor")
}
