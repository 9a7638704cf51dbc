//! QEMU's arguments for a system: q35 with virtio devices, every file and socket an inherited descriptor.
//!
//! Deliberately not here: the binary, its sandbox and user, and that it takes no defaults (the unit's template says all
//! of that), descriptor numbers. `{fd:NAME}` stands for the number of the
//! inherited descriptor of that name and is filled in by whoever starts QEMU.
//!
//! **Invariant**: no argument names a path that QEMU would have to open, so it runs without rights in any directory.

use std::fmt;

use acp_base::{Name, Uid};
use acp_wire_model::{image::DiskFormat, system::SystemSpec};
use serde_json::json;

/// The bound of TCG's translation buffer. QEMU's own default is 1 GiB, which would burst the memory limit of every small
/// guest; 200 MiB leave 150 MiB of [`crate::limits`]' overhead to QEMU itself.
pub const TRANSLATION_BUFFER_MIB: u32 = 200;

/// Name of the inherited listening socket for QMP.
pub const FD_QMP: &str = "qmp";
/// Name of the inherited listening socket for the serial console.
pub const FD_CONSOLE: &str = "console";
/// Name of the inherited descriptor of the console's log, open for appending alone (QEMU compares the access mode).
pub const FD_CONSOLE_LOG: &str = "consolelog";

/// The descriptor set of the console's log; those of disks follow.
const FDSET_CONSOLE_LOG: usize = 1;

/// PCI slots on the root complex, fixed so that a guest finds its devices where they were when others come or go. Eight
/// interfaces or disks share a slot as its functions, since the root has only 31 slots.
const SLOT_RNG: usize = 0x04;
const SLOT_BALLOON: usize = 0x05;
const SLOT_NICS: usize = 0x08;
const SLOT_DISKS: usize = 0x10;
const FUNCTIONS: usize = 8;

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processors.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accelerator {
    /// The name QEMU uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One file of a disk's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLayer {
    /// Its layout.
    pub format: DiskFormat,
    /// Whether its descriptor is open for writing.
    pub writable: bool,
}

/// Everything QEMU is told.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// The system's name.
    pub name: &'a Name,
    /// The system's identity.
    pub uid: Uid,
    /// What was asked.
    pub spec: &'a SystemSpec,
    /// What it runs on.
    pub accelerator: Accelerator,
    /// For each disk its layers from the top down, never empty.
    pub disks: &'a [Vec<DiskLayer>],
    /// For each interface its MAC address.
    pub macs: &'a [String],
}

/// The name of the inherited descriptor of a disk's layer; layer 0 is the top.
pub fn disk_fd(disk: usize, layer: usize) -> String {
    format!("disk{disk}.{layer}")
}

/// The name of the inherited descriptor of an interface's tap.
pub fn tap_fd(nic: usize) -> String {
    format!("tap{nic}")
}

/// QEMU's arguments without the binary. The processors stand still until QMP lets them run.
pub fn arguments(machine: &Machine<'_>) -> Vec<String> {
    let mut line = Line(Vec::with_capacity(64));
    line.identity(machine);
    line.board(machine);
    line.channels();
    line.extras();
    let mut fdset = FDSET_CONSOLE_LOG + 1;
    for (index, layers) in machine.disks.iter().enumerate() {
        line.disk(index, layers, &mut fdset);
    }
    for (index, mac) in machine.macs.iter().enumerate() {
        line.nic(index, mac);
    }
    line.0
}

struct Line(Vec<String>);

impl Line {
    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(name.to_owned());
        self.0.push(value.into());
    }

    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn identity(&mut self, machine: &Machine<'_>) {
        self.option("-name", machine.name.as_str());
        self.option("-uuid", machine.uid.to_string());
    }

    fn board(&mut self, machine: &Machine<'_>) {
        let cpus = machine.spec.cpus;
        self.option("-machine", "q35,usb=off,vmport=off,hpet=off,graphics=off");
        match machine.accelerator {
            Accelerator::Kvm => {
                self.option("-accel", "kvm");
                self.option("-cpu", "host");
            }
            Accelerator::Tcg => {
                self.option("-accel", format!("tcg,thread=multi,tb-size={TRANSLATION_BUFFER_MIB}"));
                self.option("-cpu", "max");
            }
        }
        self.option("-smp", format!("cpus={cpus},sockets=1,cores={cpus},threads=1"));
        self.option("-m", format!("size={}M", machine.spec.memory_bytes.0 >> 20));
        self.option("-display", "none");
        self.option("-vga", "none");
        self.option("-msg", "timestamp=on");
        self.option("-rtc", "base=utc");
        self.option("-boot", "strict=on");
        self.option("-global", "ICH9-LPC.disable_s3=1");
        self.option("-global", "ICH9-LPC.disable_s4=1");
        self.flag("-S");
    }

    fn channels(&mut self) {
        self.option("-chardev", format!("socket,id=qmp,fd={{fd:{FD_QMP}}},server=on,wait=off"));
        self.option("-mon", "chardev=qmp,mode=control");
        self.fd_in_set(FD_CONSOLE_LOG, FDSET_CONSOLE_LOG);
        self.option(
            "-chardev",
            format!(
                "socket,id=console,fd={{fd:{FD_CONSOLE}}},server=on,wait=off,\
                 logfile=/dev/fdset/{FDSET_CONSOLE_LOG},logappend=on"
            ),
        );
        self.option("-serial", "chardev:console");
    }

    fn extras(&mut self) {
        self.option("-object", "rng-builtin,id=rng0");
        self.option("-device", format!("virtio-rng-pci,rng=rng0,addr={SLOT_RNG:#04x}"));
        self.option(
            "-device",
            format!("virtio-balloon-pci,id=balloon0,deflate-on-oom=on,free-page-reporting=on,addr={SLOT_BALLOON:#04x}"),
        );
    }

    /// The chain from its lowest layer up, each layer above the one before by node name, the lowest expressly above
    /// nothing: QEMU never follows a name from a file's header.
    fn disk(&mut self, index: usize, layers: &[DiskLayer], fdset: &mut usize) {
        for (depth, layer) in layers.iter().enumerate().rev() {
            let node = disk_fd(index, depth);
            self.fd_in_set(&node, *fdset);
            self.option("-blockdev", file_node(&node, *fdset, *layer));
            let below = layers.get(depth + 1).map(|_| disk_fd(index, depth + 1));
            self.option("-blockdev", format_node(&node, *layer, below.as_deref()));
            *fdset += 1;
        }
        let (drive, addr, boot) = (disk_fd(index, 0), address(SLOT_DISKS, index), index + 1);
        self.option(
            "-device",
            format!("virtio-blk-pci,id=disk{index},drive={drive},serial=disk{index},bootindex={boot},{addr}"),
        );
    }

    fn nic(&mut self, index: usize, mac: &str) {
        let tap = tap_fd(index);
        self.option("-netdev", format!("tap,id=net{index},fd={{fd:{tap}}}"));
        let addr = address(SLOT_NICS, index);
        self.option("-device", format!("virtio-net-pci,id=nic{index},netdev=net{index},mac={mac},romfile=,{addr}"));
    }

    fn fd_in_set(&mut self, name: &str, set: usize) {
        self.option("-add-fd", format!("fd={{fd:{name}}},set={set},opaque={name}"));
    }
}

fn address(slot: usize, index: usize) -> String {
    let function = index % FUNCTIONS;
    let multifunction = if function == 0 { ",multifunction=on" } else { "" };
    format!("addr={:#04x}.{function}{multifunction}", slot + index / FUNCTIONS)
}

fn file_node(node: &str, fdset: usize, layer: DiskLayer) -> String {
    json!({
        "driver": "file",
        "node-name": format!("{node}.file"),
        "filename": format!("/dev/fdset/{fdset}"),
        "read-only": !layer.writable,
        "locking": "on",
        "discard": "unmap",
        "cache": {"direct": false, "no-flush": false},
    })
    .to_string()
}

fn format_node(node: &str, layer: DiskLayer, below: Option<&str>) -> String {
    let mut options = json!({
        "node-name": node,
        "file": format!("{node}.file"),
        "read-only": !layer.writable,
        "discard": "unmap",
        "cache": {"direct": false, "no-flush": false},
    });
    match layer.format {
        DiskFormat::Raw => options["driver"] = json!("raw"),
        DiskFormat::Qcow2 => {
            options["driver"] = json!("qcow2");
            options["backing"] = json!(below);
        }
    }
    options.to_string()
}

#[cfg(test)]
mod tests {
    use acp_base::ByteSize;
    use acp_wire_model::system::{DiskSpec, NicSpec};

    use super::*;

    fn spec(disks: usize, nics: usize) -> SystemSpec {
        let name = |text: &str| -> Name { text.parse().expect("a name") };
        SystemSpec {
            node: name("n1"),
            cpus: 2,
            memory_bytes: ByteSize::mib(256),
            disks: (0..disks)
                .map(|index| DiskSpec {
                    pool: name("default"),
                    volume: name(&format!("d{index}")),
                    size_bytes: ByteSize::gib(1),
                    image: None,
                })
                .collect(),
            nics: (0..nics).map(|_| NicSpec { network: name("default"), mac: None, address: None }).collect(),
            autostart: false,
            floating: false,
        }
    }

    fn line(layers: &[Vec<DiskLayer>], macs: usize, accelerator: Accelerator) -> Vec<String> {
        let macs: Vec<String> = (0..macs).map(|index| format!("52:54:00:00:00:{index:02x}")).collect();
        let machine = Machine {
            name: &"demo".parse().expect("a name"),
            uid: Uid::from_u128(7),
            spec: &spec(layers.len(), macs.len()),
            accelerator,
            disks: layers,
            macs: &macs,
        };
        arguments(&machine)
    }

    fn values<'a>(line: &'a [String], option: &str) -> Vec<&'a str> {
        line.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
    }

    const TOP: DiskLayer = DiskLayer { format: DiskFormat::Qcow2, writable: true };
    const RAW_BASE: DiskLayer = DiskLayer { format: DiskFormat::Raw, writable: false };

    #[test]
    fn a_linked_clone_stands_on_its_image_and_the_image_on_nothing() {
        let base = DiskLayer { format: DiskFormat::Qcow2, writable: false };
        let line = line(&[vec![TOP, base]], 1, Accelerator::Tcg);
        let nodes: Vec<serde_json::Value> =
            values(&line, "-blockdev").iter().map(|text| serde_json::from_str(text).expect("json")).collect();
        assert_eq!(nodes.len(), 4);
        assert_eq!(nodes[0]["filename"], "/dev/fdset/2");
        assert_eq!(nodes[0]["read-only"], true);
        assert_eq!((&nodes[1]["node-name"], &nodes[1]["backing"]), (&json!("disk0.1"), &json!(null)));
        assert_eq!((&nodes[3]["node-name"], &nodes[3]["backing"]), (&json!("disk0.0"), &json!("disk0.1")));
        assert_eq!(nodes[3]["read-only"], false);
        assert!(values(&line, "-add-fd").contains(&"fd={fd:disk0.0},set=3,opaque=disk0.0"));
        assert_eq!(values(&line, "-netdev"), ["tap,id=net0,fd={fd:tap0}"]);
    }

    #[test]
    fn a_raw_base_gets_no_backing_key() {
        let line = line(&[vec![TOP, RAW_BASE]], 0, Accelerator::Kvm);
        let raw: serde_json::Value = serde_json::from_str(values(&line, "-blockdev")[1]).expect("json");
        assert_eq!(raw["driver"], "raw");
        assert_eq!(raw.get("backing"), None);
        assert_eq!(values(&line, "-cpu"), ["host"]);
        assert_eq!(values(&line, "-name"), ["demo"]);
    }

    #[test]
    fn the_most_devices_have_addresses_and_sets_of_their_own() {
        let layers = vec![vec![TOP, RAW_BASE]; 16];
        let line = line(&layers, 16, Accelerator::Tcg);
        let mut addresses: Vec<&str> = values(&line, "-device")
            .into_iter()
            .filter_map(|device| device.split(',').find(|part| part.starts_with("addr=")))
            .collect();
        assert_eq!(addresses.len(), 34);
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 34);
        let mut sets: Vec<&str> =
            values(&line, "-add-fd").into_iter().filter_map(|value| value.split(',').nth(1)).collect();
        sets.sort_unstable();
        sets.dedup();
        assert_eq!(sets.len(), 33);
    }
}
