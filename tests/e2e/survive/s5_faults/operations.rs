//! The operations that are broken at every step: each with what it needs, what takes it back, and some of its steps.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::world::World;

/// A blank image: systems made from it start and find nothing to boot, which costs little.
pub(super) const IMAGE: &str = "faulty";
/// Its size.
const IMAGE_SIZE: &str = "1M";

/// One operation.
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// What has to be there, from a node without anything of this module.
    pub(super) prepare: &'static [&'static [&'static str]],
    /// The command of the operation. `FILE` stands for the file of the image.
    pub(super) run: &'static [&'static str],
    /// The commands from what it leads to back to what was there before.
    pub(super) undo: &'static [&'static [&'static str]],
    /// The commands from there to a node without anything of this module.
    pub(super) clean: &'static [&'static [&'static str]],
    /// Steps that it must pass, or else the trace says nothing.
    pub(super) landmarks: &'static [&'static str],
}

const CREATE: &[&str] =
    &["system", "create", "faulty", "--image", IMAGE, "--memory", "64MiB", "--network", "default", "--wait"];
const START: &[&str] = &["system", "start", "faulty", "--wait"];
const STOP: &[&str] = &["--yes", "system", "stop", "faulty", "--wait"];
const DELETE: &[&str] = &["--yes", "system", "delete", "faulty", "--wait"];
const IMPORT: &[&str] = &["image", "import", "faulty2", "FILE", "--wait"];
const DELETE_IMAGE: &[&str] = &["--yes", "image", "delete", "faulty2"];
const MAKE_SOURCE: &[&str] = &["volume", "create", "default/source", "--size", "1MiB"];
const DELETE_SOURCE: &[&str] = &["--yes", "volume", "delete", "default/source"];
const DELETE_CLONE: &[&str] = &["--yes", "volume", "delete", "default/clone"];
const MAKE_RAW: &[&str] = &["volume", "create", "default/raw", "--size", "1MiB", "--format", "raw"];
const DELETE_RAW: &[&str] = &["--yes", "volume", "delete", "default/raw"];
const MAKE_NETWORK: &[&str] = &["network", "create", "faulty", "--address", "10.79.0.1/24"];
const DELETE_NETWORK: &[&str] = &["--yes", "network", "delete", "faulty"];

/// A system from its creation to its deletion.
pub(super) const FIRST_LIFE: &[&[&str]] = &[CREATE, START, STOP, DELETE];

/// Every operation.
pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "create a system",
        prepare: &[],
        run: CREATE,
        undo: &[DELETE],
        clean: &[],
        landmarks: &[
            "hypervisor.create.declared",
            "cluster.write.stored",
            "jobs.record.renamed",
            "hypervisor.record.renamed",
            "storage-worker.put.renamed",
            "hypervisor.create.volume-made",
            "jobs.end.recorded",
        ],
    },
    Operation {
        name: "start a system",
        prepare: &[CREATE],
        run: START,
        undo: &[STOP],
        clean: &[DELETE],
        landmarks: &[
            "hypervisor.start.volumes-opened",
            "network.tap.attached",
            "hypervisor.start.taps-opened",
            "framework.start.directories-made",
            "framework.start.sockets-bound",
            "framework.start.group-made",
            "framework.start.shim-started",
            "framework.record.renamed",
            "hypervisor.start.qemu-spawned",
            "hypervisor.start.vmm-spawned",
            "hypervisor.start.resumed",
        ],
    },
    Operation {
        name: "stop a system",
        prepare: &[CREATE, START],
        run: STOP,
        undo: &[START],
        clean: &[STOP, DELETE],
        landmarks: &[
            "hypervisor.stop.quit",
            "framework.stop.group-removed",
            "framework.remove.cleaned",
            "hypervisor.remove.units-removed",
        ],
    },
    Operation {
        name: "delete a system",
        prepare: &[CREATE],
        run: DELETE,
        undo: &[CREATE],
        clean: &[DELETE],
        landmarks: &[
            "storage-worker.remove.unlinked",
            "hypervisor.delete.volume-deleted",
            "hypervisor.delete.undeclared",
            "hypervisor.delete.record-removed",
        ],
    },
    Operation {
        name: "import an image",
        prepare: &[],
        run: IMPORT,
        undo: &[DELETE_IMAGE],
        clean: &[],
        landmarks: &[
            "storage-worker.import.verified",
            "storage-worker.put.renamed",
            "storage.import.fetched",
            "jobs.detail.recorded",
            "storage.import.declared",
        ],
    },
    Operation {
        name: "delete an image",
        prepare: &[IMPORT],
        run: DELETE_IMAGE,
        undo: &[IMPORT],
        clean: &[DELETE_IMAGE],
        landmarks: &["storage.record.renamed", "storage.image-delete.undeclared", "storage-worker.remove.unlinked"],
    },
    Operation {
        name: "clone a volume",
        prepare: &[MAKE_SOURCE],
        run: &["volume", "clone", "default/source", "default/clone", "--wait"],
        undo: &[DELETE_CLONE],
        clean: &[DELETE_SOURCE],
        landmarks: &["storage-worker.copy.converted", "storage-worker.put.renamed", "storage.clone.copied"],
    },
    Operation {
        name: "clone a volume, linked",
        prepare: &[MAKE_SOURCE],
        run: &["volume", "clone", "default/source", "default/clone", "--linked", "--wait"],
        undo: &[DELETE_CLONE],
        clean: &[DELETE_SOURCE],
        landmarks: &["storage-worker.create.formatted", "storage-worker.put.renamed"],
    },
    Operation {
        name: "expand a volume",
        prepare: &[MAKE_SOURCE],
        run: &["volume", "expand", "default/source", "--size", "2MiB"],
        undo: &[DELETE_SOURCE, MAKE_SOURCE],
        clean: &[DELETE_SOURCE],
        landmarks: &["storage-worker.expand.resized"],
    },
    Operation {
        name: "expand a raw volume",
        prepare: &[MAKE_RAW],
        run: &["volume", "expand", "default/raw", "--size", "2MiB"],
        undo: &[DELETE_RAW, MAKE_RAW],
        clean: &[DELETE_RAW],
        landmarks: &["storage-worker.expand.lengthened"],
    },
    Operation {
        name: "create a network",
        prepare: &[],
        run: MAKE_NETWORK,
        undo: &[DELETE_NETWORK],
        clean: &[],
        landmarks: &[
            "network.create.declared",
            "network.step.bridge-created",
            "network.filter.replaced",
            "network.dhcp.spawned",
        ],
    },
    Operation {
        name: "delete a network",
        prepare: &[MAKE_NETWORK],
        run: DELETE_NETWORK,
        undo: &[MAKE_NETWORK],
        clean: &[DELETE_NETWORK],
        landmarks: &["network.delete.undeclared", "network.step.bridge-deleted", "network.dhcp.ended"],
    },
];

/// The file that is imported.
pub(super) fn file(world: &World) -> Result<String> {
    let path = world.scratch("faults")?.join("blank.qcow2");
    if !path.exists() {
        let made =
            Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&path).arg(IMAGE_SIZE).status()?;
        ensure!(made.success(), "qemu-img ended with {made}");
    }
    path.to_str().map(str::to_owned).context("the image's path is no UTF-8")
}

/// Removes the file.
pub(super) fn remove_file(world: &World) -> Result<()> {
    fs::remove_dir_all(world.scratch("faults")?).context("cannot remove the file of the image")
}

/// The words of a command as they are typed.
pub(super) fn words<'a>(command: &[&'a str], file: &'a str) -> Vec<&'a str> {
    command.iter().map(|word| if *word == "FILE" { file } else { word }).collect()
}
