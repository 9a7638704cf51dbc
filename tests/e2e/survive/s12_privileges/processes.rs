//! Every process of the node, whoever started it: user, groups, capabilities, sandbox, environment, open files.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use acp_dev_testkit::{cgroup, process, record::Record};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{AGENT, API, BASE, CLUSTER, DNSMASQ, HUB, HYPERVISOR, NETWORK, SHIM, STORAGE, SYSTEMS};
use crate::world::World;

const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const TUN: &str = "/dev/net/tun";
const KVM: &str = "/dev/kvm";

/// Who a unit's processes are.
#[derive(Clone, Copy)]
enum Who {
    User(u32),
    /// The user of the unit's system.
    System,
}

/// What each process of a unit must be; its children, like `nft` or `qemu-img`, no more than it.
struct Expected {
    template: &'static str,
    who: Who,
    in_group: bool,
    /// A device that it may open, which takes the device's group.
    device: Option<&'static str>,
    capabilities: u64,
    /// Whether it runs under a filter of system calls.
    is_sandboxed: bool,
}

const fn daemon(template: &'static str, user: u32) -> Expected {
    let who = Who::User(user);
    Expected { template, who, in_group: true, device: None, capabilities: 0, is_sandboxed: false }
}

const EXPECTED: [Expected; 11] = [
    daemon("cluster", CLUSTER),
    daemon("storage", STORAGE),
    daemon("storage-worker", STORAGE),
    Expected { device: Some(TUN), capabilities: NET_ADMIN, ..daemon("network", NETWORK) },
    Expected { device: Some(KVM), ..daemon("hypervisor", HYPERVISOR) },
    daemon("hub", HUB),
    daemon("agent", AGENT),
    daemon("api", API),
    Expected { in_group: false, capabilities: NET_ADMIN | NET_RAW | NET_BIND_SERVICE, ..daemon("dnsmasq", DNSMASQ) },
    Expected { who: Who::System, in_group: false, ..daemon("vmm", 0) },
    Expected { who: Who::System, in_group: false, device: Some(KVM), is_sandboxed: true, ..daemon("qemu", 0) },
];

/// All that a unit's environment may hold: what the framework's README lists, and what storage tells its workers.
const VARIABLES: [&str; 20] = [
    "PATH",
    "ACP_NODE",
    "ACP_RUN_DIR",
    "ACP_STATE_DIR",
    "ACP_LOG_DIR",
    "ACP_CONFIG_DIR",
    "ACP_BIN_DIR",
    "ACP_IDENTITIES",
    "ACP_INSTANCE",
    "ACP_LOG",
    "ACP_LOG_FORMAT",
    "ACP_GUARD_PID",
    "ACP_POOL_PATH",
    "ACP_POOL_UID",
    "ACP_POOL_PREPARED",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// A process as the kernel sees it.
#[derive(Debug)]
struct Seen {
    uids: Vec<u32>,
    gids: Vec<u32>,
    groups: Vec<u32>,
    /// Effective, permitted, inheritable, ambient, bounding.
    capabilities: [u64; 5],
    no_new_privileges: bool,
    seccomp: String,
    environment: Vec<String>,
}

impl Seen {
    fn of(pid: i32) -> Result<Self> {
        let numbers = |field: &str| -> Result<Vec<u32>> {
            process::status(pid, field)?.split_whitespace().map(|number| number.parse().context("a number")).collect()
        };
        let set = |field: &str| -> Result<u64> { Ok(u64::from_str_radix(&process::status(pid, field)?, 16)?) };
        let environment = fs::read(format!("/proc/{pid}/environ"))?;
        let names = environment.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
        let name = |variable: &[u8]| variable.split(|byte| *byte == b'=').next().unwrap_or_default().to_owned();
        Ok(Self {
            uids: numbers("Uid")?,
            gids: numbers("Gid")?,
            groups: numbers("Groups")?,
            capabilities: [set("CapEff")?, set("CapPrm")?, set("CapInh")?, set("CapAmb")?, set("CapBnd")?],
            no_new_privileges: process::status(pid, "NoNewPrivs")? == "1",
            seccomp: process::status(pid, "Seccomp")?,
            environment: names.map(|variable| String::from_utf8_lossy(&name(variable)).into_owned()).collect(),
        })
    }

    fn is(&self, uid: u32, gid: u32, groups: &[u32]) -> bool {
        self.uids.iter().all(|found| *found == uid)
            && self.gids.iter().all(|found| *found == gid)
            && self.groups == groups
    }
}

/// The group that opens a device, unless it is missing or open to everybody.
fn device_group(device: Option<&str>) -> Option<u32> {
    let metadata = fs::metadata(device?).ok()?;
    (metadata.permissions().mode() & 0o006 != 0o006).then_some(metadata.gid())
}

/// Looks at all processes while a system runs; each has to be one that the table knows.
pub(super) fn every_process(world: &World) -> Result<()> {
    world.create("priv")?;
    world.start_system("priv")?;
    let units: BTreeMap<String, Value> =
        world.units()?.into_iter().map(|unit| (unit["name"].as_str().unwrap_or_default().to_owned(), unit)).collect();
    let mut seen_templates = Vec::new();
    for found in world.node.processes() {
        let checked = process_is_right(&units, found.pid, &mut seen_templates);
        // A tool that ended between the two looks is no finding.
        if found.is_alive() {
            checked.with_context(|| process::command_line(found.pid))?;
        }
    }
    for expected in EXPECTED {
        ensure!(
            seen_templates.iter().any(|seen| seen == expected.template),
            "no process of {} was seen",
            expected.template
        );
    }
    guard_is_root(world)?;
    let instance = world.show("priv")?.uid.replace('-', "");
    qemu_has_only_its_own_files(world, &instance)?;
    world.stop_system("priv")?;
    world.delete("priv")
}

fn process_is_right(units: &BTreeMap<String, Value>, pid: i32, seen_templates: &mut Vec<String>) -> Result<()> {
    let seen = Seen::of(pid)?;
    for variable in &seen.environment {
        ensure!(VARIABLES.contains(&variable.as_str()), "the environment has {variable}");
    }
    match process::name(pid).as_str() {
        "acp-framework" => return framework_is_root(&seen),
        "acp-shim" => return shim_is_harmless(&seen),
        _ => {}
    }
    let unit = unit_of(pid)?;
    let entry = units.get(&unit).with_context(|| format!("there is no unit {unit}"))?;
    let template = entry["meta"]["template"].as_str().context("a unit without a template")?;
    let expected = EXPECTED.iter().find(|expected| expected.template == template);
    let expected = expected.with_context(|| format!("template {template} is not in the table"))?;
    seen_templates.push(template.to_owned());
    let uid = match expected.who {
        Who::User(uid) => uid,
        Who::System => u32::try_from(entry["meta"]["uid"].as_u64().context("a unit without a user")?)?,
    };
    ensure!(matches!(expected.who, Who::User(_)) || uid >= SYSTEMS, "{uid} is no user of a system");
    let groups: Vec<u32> = expected.in_group.then_some(BASE).into_iter().chain(device_group(expected.device)).collect();
    ensure!(seen.is(uid, uid, &groups), "not user {uid} with groups {groups:?}: {seen:?}");
    ensure!(
        seen.capabilities == [expected.capabilities; 5],
        "capabilities other than {:x}: {seen:x?}",
        expected.capabilities
    );
    ensure!(seen.no_new_privileges, "it can get new privileges");
    ensure!(!expected.is_sandboxed || seen.seccomp == "2", "it runs without its sandbox");
    Ok(())
}

/// The unit whose control group a process is in.
fn unit_of(pid: i32) -> Result<String> {
    let folder = cgroup::of_process(pid, "pids").or_else(|_none| cgroup::of_process(pid, ""))?;
    Ok(folder.file_name().context("a group has a name")?.to_string_lossy().into_owned())
}

fn framework_is_root(seen: &Seen) -> Result<()> {
    ensure!(seen.uids == [0; 4] && seen.gids == [0; 4], "the framework is not root: {seen:?}");
    Ok(())
}

/// It has given up what it started with and cannot get it back.
fn shim_is_harmless(seen: &Seen) -> Result<()> {
    ensure!(seen.is(SHIM, BASE, &[]), "a shim is {seen:?}");
    ensure!(seen.capabilities[..4] == [0; 4] && seen.no_new_privileges, "a shim may do something: {seen:x?}");
    Ok(())
}

/// The guard is outside of the node's groups, as the host's init is.
fn guard_is_root(world: &World) -> Result<()> {
    let guard = Record::load(world.node.layout())?.context("the node was started")?.guard;
    framework_is_root(&Seen::of(guard.pid)?)
}

/// QEMU holds its disk, the image below it for reading, its tap, its log and what has no name; no other file.
fn qemu_has_only_its_own_files(world: &World, instance: &str) -> Result<()> {
    let pid = world.node.unit_process(&format!("qemu@{instance}"))?.pid;
    let state = world.node.layout().state();
    let pool = state.join("storage/pools/default");
    let mut volumes = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let text = target.display().to_string();
        let is_nameless = ["socket:[", "pipe:[", "anon_inode:"].iter().any(|kind| text.starts_with(kind));
        let number = entry.file_name().to_string_lossy().into_owned();
        let is_log = target == state.join("vmm").join(instance).join("console.log");
        if is_nameless || is_log || ["/dev/null", TUN, KVM].contains(&text.as_str()) {
            continue;
        }
        ensure!(target.starts_with(&pool), "QEMU holds {text}");
        let is_volume = target.file_name().is_some_and(|name| name.to_string_lossy().starts_with("priv"));
        ensure!(is_volume || is_read_only(pid, &number)?, "QEMU may write {text}");
        volumes += u32::from(is_volume);
    }
    ensure!(volumes >= 1, "QEMU holds no disk: the test looks at the wrong place");
    Ok(())
}

/// Whether the access mode in the flags of an open file is `O_RDONLY`.
fn is_read_only(pid: i32, number: &str) -> Result<bool> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"))?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).context("an open file has flags")?;
    Ok(u32::from_str_radix(flags.trim(), 8)? & 0o3 == 0)
}
