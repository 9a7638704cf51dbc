//! What ACP needs from Debian, and its installation.
//!
//! **Invariant**: when everything is there, nothing is run but a look into the package database.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{command, exists, output},
    needs_root,
};

/// What a node needs while it runs.
pub(crate) const NODE: &[&str] =
    &["qemu-system-x86", "qemu-utils", "dnsmasq-base", "nftables", "curl", "ca-certificates", "iproute2", "util-linux"];

/// What building the demo image needs. The kernel and busybox are downloaded for it, not installed.
pub(crate) const IMAGE: &[&str] = &["syslinux", "dosfstools", "mtools", "qemu-utils"];

/// What the tests need besides: the trace of system calls, a disk with programs without debug information, and clocks that are off.
pub(crate) const TESTS: &[&str] = &["strace", "binutils", "e2fsprogs", "libfaketime"];

/// Installs those of `wanted` that are missing; answers what it did.
pub(crate) fn ensure(wanted: &[&str]) -> Result<String> {
    if !exists("dpkg-query") || !exists("apt-get") {
        bail!("this machine has no apt-get; install by hand what these Debian packages hold: {}", wanted.join(" "));
    }
    let missing: Vec<&str> = wanted.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok("all there".to_owned());
    }
    needs_root(&format!("installing Debian's {}", missing.join(" ")))?;
    if missing.iter().any(|package| candidate(package).is_none()) {
        update()?;
    }
    // A list that is older than the archive names files that are gone; one update mends that.
    install(&missing).or_else(|_stale| update().and_then(|()| install(&missing)))?;
    Ok(format!("installed {}", missing.join(" ")))
}

/// Whether the package is installed and configured.
fn installed(package: &str) -> bool {
    let mut query = command("dpkg-query", &["--show", "--showformat=${db:Status-Status}", package]);
    output(&mut query).is_ok_and(|status| status == "installed")
}

/// A field of `apt-cache policy`, like `Candidate`; absent when there is none.
fn policy(package: &str, field: &str) -> Option<String> {
    let text = output(apt("apt-cache", &["policy", package]).env("LC_ALL", "C")).ok()?;
    let value = text.lines().find_map(|line| line.trim().strip_prefix(field)?.strip_prefix(": "))?;
    (value != "(none)").then(|| value.to_owned())
}

/// The version that would be installed.
pub(crate) fn candidate(package: &str) -> Option<String> {
    policy(package, "Candidate")
}

/// The first package that `package` depends on whose name begins with `prefix`.
pub(crate) fn dependency(package: &str, prefix: &str) -> Option<String> {
    let text = output(apt("apt-cache", &["depends", package]).env("LC_ALL", "C")).ok()?;
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
}

/// Fetches the package lists.
pub(crate) fn update() -> Result<()> {
    needs_root("fetching Debian's package lists")?;
    output(&mut apt("apt-get", &["update", "--quiet"])).map(drop).context("cannot fetch Debian's package lists")
}

/// Downloads packages into a directory without installing them.
pub(crate) fn download(dir: &std::path::Path, packages: &[&str]) -> Result<()> {
    let mut command = apt("apt-get", &["--quiet", "--option", "APT::Sandbox::User=root", "download"]);
    output(command.args(packages).current_dir(dir)).map(drop)
}

fn install(missing: &[&str]) -> Result<()> {
    let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    let pinned = qemu_pair(missing);
    if let Some(pair) = &pinned {
        arguments.push("--allow-downgrades");
        arguments.extend(pair.iter().map(String::as_str));
    }
    arguments.extend(missing.iter().copied().filter(|package| pinned.is_none() || !package.starts_with("qemu-")));
    output(&mut apt("apt-get", &arguments)).map(drop).with_context(|| format!("cannot install {}", missing.join(" ")))
}

/// Both QEMU packages in the version of the archive, when a qemu-utils is installed that the archive does not have: such a
/// one (from backports, say) breaks the archive's qemu-system-common, and apt would refuse instead of stepping back.
fn qemu_pair(missing: &[&str]) -> Option<[String; 2]> {
    let wanted = missing.contains(&"qemu-system-x86");
    let version = candidate("qemu-system-x86").filter(|_version| wanted)?;
    let present = policy("qemu-utils", "Installed")?;
    (present != version).then(|| [format!("qemu-system-x86={version}"), format!("qemu-utils={version}")])
}

fn apt(program: &str, arguments: &[&str]) -> Command {
    let mut command = command(program, arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
