//! Who each process is, and what it may do.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Command,
};

use acp_dev_testkit::process;
use anyhow::{Context as _, Result, ensure};

use crate::world::World;

/// The first of the numbers that the framework uses where the distribution has no users for ACP: the group's.
const BASE: u32 = 61_000;
/// The first user of a system.
const SYSTEMS: u32 = BASE + 1_000;
/// Bits of `CapEff`.
const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

/// Devices that units may open.
const TUN: &str = "/dev/net/tun";
const KVM: &str = "/dev/kvm";

/// What a unit's process must be.
struct Expected {
    template: &'static str,
    uid: u32,
    in_group: bool,
    /// A device that it may open, which takes the device's group.
    device: Option<&'static str>,
    capabilities: u64,
}

/// Units with users of their own; vmm and qemu, which have one per system, are looked at apart.
const EXPECTED: [Expected; 6] = [
    Expected { template: "cluster", uid: BASE + 2, in_group: true, device: None, capabilities: 0 },
    Expected { template: "storage", uid: BASE + 3, in_group: true, device: None, capabilities: 0 },
    Expected { template: "storage-worker", uid: BASE + 3, in_group: true, device: None, capabilities: 0 },
    Expected { template: "network", uid: BASE + 4, in_group: true, device: Some(TUN), capabilities: NET_ADMIN },
    Expected { template: "hypervisor", uid: BASE + 5, in_group: true, device: Some(KVM), capabilities: 0 },
    Expected {
        template: "dnsmasq",
        uid: BASE + 6,
        in_group: false,
        device: None,
        capabilities: NET_ADMIN | NET_RAW | NET_BIND_SERVICE,
    },
];

/// A process as the kernel sees it.
#[derive(Debug)]
struct Seen {
    uids: Vec<u32>,
    groups: Vec<u32>,
    effective: u64,
    no_new_privileges: bool,
    seccomp: String,
}

impl Seen {
    fn of(pid: i32) -> Result<Self> {
        let numbers = |field: &str| -> Result<Vec<u32>> {
            process::status(pid, field)?.split_whitespace().map(|number| number.parse().context("a number")).collect()
        };
        Ok(Self {
            uids: numbers("Uid")?,
            groups: numbers("Groups")?,
            effective: u64::from_str_radix(&process::status(pid, "CapEff")?, 16)?,
            no_new_privileges: process::status(pid, "NoNewPrivs")? == "1",
            seccomp: process::status(pid, "Seccomp")?,
        })
    }
}

/// The group that opens a device, unless it is missing or open to everybody.
fn device_group(device: Option<&str>) -> Option<u32> {
    let metadata = fs::metadata(device?).ok()?;
    (metadata.permissions().mode() & 0o006 != 0o006).then_some(metadata.gid())
}

fn seen(world: &World, unit: &str) -> Result<Seen> {
    Seen::of(world.node.unit_process(unit)?.pid).with_context(|| format!("unit {unit}"))
}

pub(crate) fn processes(world: &World) -> Result<()> {
    world.create("priv")?;
    world.start_system("priv")?;
    let units = world.units()?;
    let named = |template: &str| -> Result<String> {
        let found = units.iter().find(|unit| unit["meta"]["template"] == template).context(template.to_owned())?;
        Ok(found["name"].as_str().context("a unit without a name")?.to_owned())
    };
    for expected in EXPECTED {
        let unit = named(expected.template)?;
        let seen = seen(world, &unit)?;
        ensure!(seen.uids.iter().all(|uid| *uid == expected.uid), "{unit}: {seen:?}");
        let groups: Vec<u32> =
            expected.in_group.then_some(BASE).into_iter().chain(device_group(expected.device)).collect();
        ensure!(seen.groups == groups, "{unit} has groups {:?} and not {groups:?}", seen.groups);
        ensure!(seen.effective == expected.capabilities, "{unit} has capabilities {:x}", seen.effective);
        ensure!(seen.no_new_privileges, "{unit} can get new privileges");
    }
    let instance = world.show("priv")?.uid.replace('-', "");
    let (vmm, qemu) = (seen(world, &format!("vmm@{instance}"))?, seen(world, &format!("qemu@{instance}"))?);
    ensure!(
        qemu.uids == vmm.uids && qemu.uids[0] >= SYSTEMS,
        "vmm {vmm:?} and QEMU {qemu:?} share a user of the system's"
    );
    for (name, seen, device) in [("vmm", &vmm, None), ("qemu", &qemu, Some(KVM))] {
        ensure!(seen.groups == Vec::from_iter(device_group(device)), "{name}: {seen:?}");
        ensure!(seen.effective == 0 && seen.no_new_privileges, "{name}: {seen:?}");
    }
    ensure!(qemu.seccomp == "2", "QEMU runs without its sandbox");
    shims(world)?;
    world.stop_system("priv")?;
    world.delete("priv")
}

/// Every shim has given up what it started with.
fn shims(world: &World) -> Result<()> {
    let shims: Vec<_> =
        world.node.processes().into_iter().filter(|found| process::name(found.pid) == "acp-shim").collect();
    ensure!(shims.len() >= EXPECTED.len(), "there are {} shims", shims.len());
    for shim in shims {
        let seen = Seen::of(shim.pid)?;
        let line = process::command_line(shim.pid);
        ensure!(seen.uids[0] == BASE + 1 && seen.effective == 0, "{line}: {seen:?}");
    }
    Ok(())
}

pub(crate) fn sockets(world: &World) -> Result<()> {
    for noun in ["framework", "cluster", "storage", "network", "hypervisor"] {
        let metadata = fs::metadata(world.node.socket(noun))?;
        let mode = metadata.permissions().mode() & 0o7777;
        ensure!(mode == 0o660, "{noun}.sock has mode {mode:o}");
        ensure!(metadata.gid() == BASE, "{noun}.sock belongs to group {}", metadata.gid());
    }
    // dnsmasq, another user, passes through the state of network without listing it.
    for (noun, expected) in [("cluster", 0o700), ("storage", 0o700), ("network", 0o711), ("hypervisor", 0o700)] {
        let metadata = fs::metadata(world.node.layout().state().join(noun))?;
        let mode = metadata.permissions().mode() & 0o7777;
        ensure!(mode == expected, "the state of {noun} has mode {mode:o}");
    }
    Ok(())
}

/// A user outside the group does not get in; one inside may look and change nothing.
pub(crate) fn others(world: &World) -> Result<()> {
    let acpctl = |user: u32, group: u32, arguments: &[&str]| -> Result<_> {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
        command.arg(world.bin.join("acpctl")).args(arguments).env("ACP_RUN_DIR", world.node.layout().run());
        command.output().context("cannot run setpriv")
    };
    let outside = acpctl(65_534, 65_534, &["system", "list"])?;
    ensure!(outside.status.code() == Some(77), "somebody outside the group: {outside:?}");
    let inside = acpctl(65_534, BASE, &["system", "list"])?;
    ensure!(inside.status.success(), "somebody inside the group may look: {inside:?}");
    let before = world.specs()?;
    let writes = acpctl(65_534, BASE, &["system", "create", "mine", "--image", "demo"])?;
    ensure!(writes.status.code() == Some(77), "somebody inside the group may not write: {writes:?}");
    ensure!(world.specs()? == before, "it was written all the same");
    Ok(())
}
