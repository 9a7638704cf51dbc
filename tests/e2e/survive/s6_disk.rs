//! S6: full and read-only file systems, on a node of its own whose cluster database, logs and a pool lie on small file systems
//! in memory. Disks that fail in the middle of a write are the store's own tests (`crates/io/store/tests`).

use acp_dev_testkit::{Node, guard, node::Said, process::Identity, wait_for};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    harness::Case,
    mount::Mount,
    world::{LIMIT, World},
};

/// The cases of this line.
pub(crate) const CASES: &[Case] =
    &[Case { name: "survive::s6_full_and_read_only_file_systems_pass_without_a_restart", run: full_and_read_only }];

/// `acpctl`'s status for what there is no room for.
const EXHAUSTED: i32 = 5;
/// Systems made and deleted while nothing can be logged: their lines are more than what is left of a log's last page.
const LOUD: usize = 5;

fn full_and_read_only(world: &World) -> Result<()> {
    let node = Node::prepare(&world.bin)?;
    let state = node.layout().state();
    let database = Mount::small(&state.join("cluster"), "6m")?;
    let log = Mount::small(&state.join("hub"), "6m")?;
    let logs = Mount::small(&node.layout().log(), "4m")?;
    node.boot()?;
    node.run(&["pool", "create", "default"])?;
    let pool = Mount::small(&state.join("storage/pools/small"), "4m")?;
    for command in [
        &["pool", "create", "small"][..],
        &["system", "create", "steady", "--disk", "8MiB", "--pool", "default", "--wait"],
        &["system", "start", "steady", "--wait"],
    ] {
        node.run(command)?;
    }
    let guest = qemu(&node)?;
    // All of them are looked at, whatever the first ones say: the node is the dear part.
    let looks = [
        full_database(&node, &database).context("a full database"),
        full_log(&node, &log).context("a full disk of the cluster's log"),
        full_logs(&node, &logs).context("full logs"),
        full_pool(&node, &pool, world).context("a full pool"),
        read_only_database(&node, &database).context("a read-only database"),
    ];
    let failed: Vec<String> = looks.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    ensure!(qemu(&node)? == guest, "the guest was not left alone");
    let forced = guard::take_down(node.layout())?;
    ensure!(forced.is_empty(), "the node did not stop by itself: {}", forced.join("; "));
    [database, log, logs, pool].into_iter().try_for_each(Mount::end)?;
    // Nothing of it is left, the mounts included.
    node.shut_down()
}

/// Writes get a sentence, everything else goes on; with room, the same command succeeds with the same daemon.
fn full_database(node: &Node, database: &Mount) -> Result<()> {
    let daemon = node.unit_process("cluster")?;
    let filler = database.fill()?;
    let create = ["network", "create", "later", "--address", "10.78.0.1/24"];
    let said = ended(node.acpctl(&create)?, EXHAUSTED)?;
    ensure!(said.contains("there is no room left on the file system of the database: make room"), "it says {said}");
    ensure!(node.json(&["system", "show", "steady"])?["status"]["state"] == "running", "it is not said to run");
    let health = health(node)?;
    ensure!(health.contains("no room left"), "the service's health is {health:?}");
    std::fs::remove_file(filler)?;
    node.run(&create)?;
    ensure!(self::health(node)?.is_empty(), "the service does not say that it is well");
    ensure!(node.unit_process("cluster")? == daemon, "the daemon was started anew");
    node.run(&["--yes", "network", "delete", "later"]).map(drop)
}

/// The hub without room orders nothing, says so, and goes on by itself.
fn full_log(node: &Node, log: &Mount) -> Result<()> {
    let daemon = node.unit_process("hub")?;
    let filler = log.fill()?;
    let create = ["network", "create", "later", "--address", "10.78.0.1/24"];
    let said = ended(node.acpctl(&create)?, EXHAUSTED)?;
    ensure!(said.contains("there is no room left on the file system of"), "it says {said}");
    std::fs::remove_file(filler)?;
    node.run(&create)?;
    ensure!(node.unit_process("hub")? == daemon, "the daemon was started anew");
    node.run(&["--yes", "network", "delete", "later"]).map(drop)
}

/// A daemon that cannot log starts and works, and its log says what it lacks once there is room.
fn full_logs(node: &Node, logs: &Mount) -> Result<()> {
    let filler = logs.fill()?;
    let before = node.unit_process("hypervisor")?;
    before.signal(Signal::KILL)?;
    wait_for("the hypervisor to be back", LIMIT, || {
        let now = node.unit_process("hypervisor").map_err(|error| format!("{error:#}"))?;
        let said = node.acpctl(&["system", "start", "steady", "--wait"]).map_err(|error| format!("{error:#}"))?;
        if now != before && said.status == 0 { Ok(()) } else { Err(format!("{now:?}: {}", said.stderr)) }
    })?;
    (0..LOUD).try_for_each(|_round| make_and_delete(node))?;
    std::fs::remove_file(filler)?;
    make_and_delete(node)?;
    let log = node.layout().log().join("hypervisor.log");
    wait_for("the log to go on", LIMIT, || {
        let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let told = text.lines().find(|line| line.contains("bytes could not be written here"));
        told.map(drop).ok_or_else(|| text.lines().last().unwrap_or_default().to_owned())
    })
}

fn make_and_delete(node: &Node) -> Result<()> {
    node.run(&["system", "create", "loud", "--disk", "4MiB", "--pool", "default", "--wait"])?;
    node.run(&["--yes", "system", "delete", "loud", "--wait"]).map(drop)
}

/// An image that does not fit leaves nothing behind, and fits once there is room.
fn full_pool(node: &Node, pool: &Mount, world: &World) -> Result<()> {
    let import = ["image", "import", "late", world.image_text()?, "--pool", "small", "--wait"];
    let said = ended(node.acpctl(&import)?, EXHAUSTED)?;
    ensure!(said.contains("too little space") && said.contains("enlarge its file system"), "it says {said}");
    let left = std::fs::read_dir(pool.path.join("images"))?.count();
    ensure!(left == 0, "{left} files are left of an image that did not fit");
    // More than a pool's reserve of 256 MiB and the image; memory is taken only for what is written.
    pool.remount("size=512m")?;
    node.run(&import)?;
    node.run(&["--yes", "image", "delete", "late"]).map(drop)
}

/// A daemon that finds its database on a read-only file system waits for it, however long, and takes up where it was.
fn read_only_database(node: &Node, database: &Mount) -> Result<()> {
    let standing = node.run(&["object", "list", "system"])?;
    node.run(&["service", "stop", "cluster"])?;
    database.remount("ro")?;
    let (tried, started) = std::thread::scope(|scope| {
        let start = scope.spawn(|| node.acpctl(&["service", "start", "cluster"]));
        let tried = tried_twice(node);
        // Whatever was seen, the command that waits for the daemon is let go.
        let writable = database.remount("rw");
        let started = start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (writable.and(tried), started)
    });
    let (unit, started) = (tried?, started?);
    ensure!(unit["meta"]["state"] != "failed", "it was given up: {unit}");
    ensure!(started.status == 0, "the command that waited for it ended with {}: {}", started.status, started.stderr);
    wait_for("the database to be back", LIMIT, || {
        let said = node.acpctl(&["object", "list", "system"]).map_err(|error| format!("{error:#}"))?;
        if said.status == 0 { Ok(()) } else { Err(said.stderr) }
    })?;
    let specs = |text: &str| text.lines().map(|line| line.split_whitespace().take(2).collect::<String>()).collect();
    let (before, after): (Vec<String>, Vec<String>) =
        (specs(&standing), specs(&node.run(&["object", "list", "system"])?));
    ensure!(before == after, "declared were {before:?}, and are {after:?}");
    node.run(&["network", "create", "later", "--address", "10.78.0.1/24"]).map(drop)
}

/// The unit of the cluster service, after it was started anew twice.
fn tried_twice(node: &Node) -> Result<Value> {
    wait_for("the daemon to have tried twice", LIMIT, || {
        let unit = unit(node, "cluster").map_err(|error| format!("{error:#}"))?;
        let tried = unit["meta"]["restarts"].as_u64().unwrap_or(0);
        if tried >= 2 { Ok(unit) } else { Err(unit.to_string()) }
    })
}

fn ended(said: Said, status: i32) -> Result<String> {
    ensure!(said.status == status, "it ended with {}, not {status}: {}{}", said.status, said.stdout, said.stderr);
    Ok(said.stderr)
}

fn unit(node: &Node, name: &str) -> Result<Value> {
    let socket = node.socket("framework");
    let reply = acp_dev_testkit::varlink::call(&socket, "acp.framework.GetUnit", json!({ "name": name }))?;
    Ok(reply["unit"].clone())
}

/// What the cluster service lacks; empty: nothing.
fn health(node: &Node) -> Result<String> {
    let reply = acp_dev_testkit::varlink::call(&node.socket("cluster"), "acp.daemon.GetHealth", json!({}))?;
    reply["reason"].as_str().map(str::to_owned).with_context(|| format!("no reason in {reply}"))
}

fn qemu(node: &Node) -> Result<Identity> {
    let is_qemu = |process: &Identity| acp_dev_testkit::process::name(process.pid).starts_with("qemu-system");
    node.processes().into_iter().find(is_qemu).context("no guest runs")
}
