//! The demo image: Debian's cloud kernel and busybox on a bootable disk, made without root rights, loop devices or mounts.
//!
//! Deliberately not here: anything the guest does, which stands in `guest/`.
//!
//! **Invariant**: the image under `target/acp-image` is complete or absent; it is replaced when the kernel's or busybox's
//! version or the files of the guest change.

mod modules;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use acp_dev_testkit::cpio::Archive;
use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{
    command::{command, output, run, workspace},
    packages,
};

/// The package that depends on the current cloud kernel.
const KERNEL_META: &str = "linux-image-cloud-amd64";
/// The shell, DHCP client, web server and init of the guest.
const BUSYBOX: &str = "busybox-static";
/// Size of the disk: the kernel takes 14 MB, the rest is free for the guest's own files; zeroes cost nothing in a qcow2.
const DISK_BYTES: u64 = 64 << 20;
/// The modules the guest loads: its disk, its network, its power button, entropy.
const MODULES: [&str; 6] = ["virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "button", "evdev"];
/// Boots the kernel at once, with the serial port as its console.
const SYSLINUX: &str =
    "DEFAULT acp\nPROMPT 0\nLABEL acp\n  KERNEL vmlinuz\n  INITRD initrd\n  APPEND console=ttyS0 quiet\n";

/// The guest's files: path, mode, content.
const GUEST: [(&str, u32, &str); 6] = [
    ("etc/inittab", 0o644, include_str!("../guest/inittab")),
    ("etc/rc", 0o755, include_str!("../guest/rc")),
    ("etc/udhcpc", 0o755, include_str!("../guest/udhcpc")),
    ("etc/acpi/PWRF/00000080", 0o755, include_str!("../guest/power")),
    ("etc/profile", 0o644, include_str!("../guest/profile")),
    ("etc/passwd", 0o644, "root::0:0:root:/root:/bin/sh\n"),
];

/// Where the image lies, whether it is there or not.
pub(crate) fn path() -> PathBuf {
    directory().join("demo.qcow2")
}

fn directory() -> PathBuf {
    workspace().join("target/acp-image")
}

/// Builds the image unless it is there; answers where it lies and what was done.
pub(crate) fn ensure(note: &mut String) -> Result<PathBuf> {
    let dir = directory();
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let sources = match Sources::find() {
        Ok(sources) => sources,
        Err(_no_lists) if path().exists() && stored_key(&dir, 1) == Some(recipe()) => {
            note.push_str("there; Debian's lists are not, so its kernel may be older");
            return Ok(path());
        }
        Err(no_lists) => return Err(no_lists),
    };
    if path().exists() && stored_key(&dir, 0) == Some(sources.key()) {
        note.push_str("there");
        return Ok(path());
    }
    let packages = packages::ensure(packages::IMAGE)?;
    build(&dir, &sources)?;
    let size = fs::metadata(path())?.len();
    note.push_str(&format!("{} and {}, {} MB; packages {packages}", sources.kernel, sources.busybox, size >> 20));
    Ok(path())
}

/// A line of the file that says what the present image was made from: its key, then its recipe.
fn stored_key(dir: &Path, line: usize) -> Option<String> {
    fs::read_to_string(dir.join("key")).ok()?.lines().nth(line).map(str::to_owned)
}

/// The packages that an image is made from, with their versions.
struct Sources {
    kernel_package: String,
    kernel: String,
    busybox: String,
}

impl Sources {
    /// Reads the package lists, fetching them once if there are none.
    fn find() -> Result<Self> {
        if !cfg!(target_arch = "x86_64") {
            bail!("the demo image is made from Debian's amd64 kernel and this machine is none; use `--no-demo`");
        }
        if packages::candidate(KERNEL_META).is_none() {
            packages::update()?;
        }
        let kernel_package =
            packages::dependency(KERNEL_META, "linux-image-").context("Debian's lists have no cloud kernel")?;
        let version =
            packages::candidate(&kernel_package).context("Debian's lists have no version of the cloud kernel")?;
        let busybox = packages::candidate(BUSYBOX).context("Debian's lists have no busybox-static")?;
        Ok(Self {
            kernel: format!("{kernel_package} {version}"),
            busybox: format!("{BUSYBOX} {busybox}"),
            kernel_package,
        })
    }

    fn key(&self) -> String {
        hash(&[&self.kernel, &self.busybox, &recipe()])
    }
}

/// A hash over everything of ours that shapes the image.
fn recipe() -> String {
    let mut parts = vec![
        SYSLINUX,
        include_str!("image.rs"),
        include_str!("../../testkit/src/cpio.rs"),
        include_str!("image/modules.rs"),
    ];
    parts.extend(GUEST.iter().map(|(_, _, content)| *content));
    hash(&parts)
}

fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn build(dir: &Path, sources: &Sources) -> Result<()> {
    // Two may build at the same time; each renames a whole image into place.
    let work = dir.join(format!("work-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    packages::download(&work, &[&sources.kernel_package, BUSYBOX])?;
    let tree = work.join("tree");
    fs::create_dir(&tree)?;
    unpack(&work, &sources.kernel_package, &tree, &["./boot/vmlinuz-*", "./lib/modules/*/kernel/*.ko"])?;
    unpack(&work, BUSYBOX, &tree, &["./bin/busybox"])?;
    initramfs(&tree, &work.join("initrd"))?;
    let kernel = only_match(&tree.join("boot"), "vmlinuz-")?;
    disk(&work, &kernel)?;
    fs::rename(work.join("demo.qcow2"), path())?;
    fs::write(dir.join("key"), format!("{}\n{}\n", sources.key(), recipe()))?;
    fs::remove_dir_all(&work).context("cannot remove the work directory of the image")
}

/// Unpacks some files of a downloaded package.
fn unpack(dir: &Path, package: &str, into: &Path, patterns: &[&str]) -> Result<()> {
    let archive = only_match(dir, &format!("{package}_"))?;
    let mut reader = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(archive).stdout(Stdio::piped()).spawn()?;
    let stdout = reader.stdout.take().expect("standard output was asked for");
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--wildcards", "--directory"]).arg(into).args(patterns).stdin(stdout);
    run(&mut tar)?;
    if !reader.wait()?.success() {
        bail!("cannot read the package {package}");
    }
    Ok(())
}

fn only_match(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut found = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    found.next().with_context(|| format!("{} holds nothing that begins with {prefix}", dir.display()))
}

/// Writes the guest's whole file system: busybox, the modules in loading order, the guest's files.
fn initramfs(tree: &Path, into: &Path) -> Result<()> {
    let modules = modules::in_load_order(&tree.join("lib/modules"), &MODULES)?;
    let mut archive = Archive::new();
    for dir in [
        "bin",
        "dev",
        "etc",
        "etc/acpi",
        "etc/acpi/PWRF",
        "lib",
        "lib/modules",
        "proc",
        "root",
        "sbin",
        "sys",
        "tmp",
        "usr",
    ] {
        archive.directory(dir);
    }
    archive.directory("usr/bin");
    archive.directory("usr/sbin");
    archive.character_device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, &fs::read(tree.join("bin/busybox"))?);
    archive.symlink("init", "bin/busybox");
    archive.symlink("bin/sh", "busybox");
    for (path, mode, content) in GUEST {
        archive.file(path, mode, content.as_bytes());
    }
    let mut order = String::new();
    for module in &modules {
        let name = format!("{}.ko", module.name);
        archive.file(&format!("lib/modules/{name}"), 0o644, &module.bytes);
        order.push_str(&format!("{name}\n"));
    }
    archive.file("lib/modules/order", 0o644, order.as_bytes());
    let plain = into.with_extension("cpio");
    fs::write(&plain, archive.finish())?;
    let compressed = fs::File::create(into)?;
    run(command("gzip", &["-9", "--no-name", "--stdout"]).arg(plain).stdout(compressed))
}

/// Puts boot loader, kernel and file system onto a FAT disk without partitions and packs it.
fn disk(work: &Path, kernel: &Path) -> Result<()> {
    fs::write(work.join("syslinux.cfg"), SYSLINUX)?;
    let raw = work.join("demo.raw");
    fs::File::create(&raw)?.set_len(DISK_BYTES)?;
    let here = |program: &str, arguments: &[&str]| output(command(program, arguments).current_dir(work));
    here("mkfs.vfat", &["-n", "ACP", "demo.raw"])?;
    here("syslinux", &["--install", "demo.raw"])?;
    output(command("mcopy", &["-i", "demo.raw"]).arg(kernel).arg("::vmlinuz").current_dir(work))?;
    here("mcopy", &["-i", "demo.raw", "initrd", "syslinux.cfg", "::"])?;
    here("qemu-img", &["convert", "-c", "-f", "raw", "-O", "qcow2", "demo.raw", "demo.qcow2"])?;
    Ok(())
}
