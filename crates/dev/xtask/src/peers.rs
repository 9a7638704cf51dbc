//! The programs that benches measure ACP beside: Debian packages, unpacked below `target` and not installed, since some would
//! start a daemon on the machine.
//!
//! **Invariant**: a package is unpacked whole and marked then; one that is marked is not fetched again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    command::{command, output, workspace},
    packages,
};

/// What a bench needs, by its name. LXD's are those of its dependencies that machines commonly lack.
const PEERS: [(&str, &[&str]); 8] = [
    ("remote-call", &["nginx", "libnginx-mod-stream"]),
    ("spec-write", &["etcd-server"]),
    ("failover-leader", &["etcd-server"]),
    ("linear-read", &["etcd-server"]),
    ("local-read", &["etcd-server"]),
    ("propagate", &["etcd-server"]),
    ("detect", &["serf"]),
    (
        "api",
        &[
            "etcd-server",
            "lxd",
            "libdqlite0",
            "libraft2",
            "libuv1",
            "liblxc1",
            "libsqlite3-0",
            "rsync",
            "squashfs-tools",
            "attr",
        ],
    ),
];

/// Where they lie, as in the root directory of a system.
pub(crate) fn dir() -> PathBuf {
    workspace().join("target/peers")
}

/// Unpacks what the bench needs and is not there; answers which packages those were.
pub(crate) fn ensure(bench: &str) -> Result<String> {
    let wanted = PEERS.iter().find(|(name, _)| *name == bench).map_or(&[][..], |(_, wanted)| *wanted);
    let missing: Vec<&str> = wanted.iter().copied().filter(|package| !mark(package).exists()).collect();
    if missing.is_empty() {
        return Ok("all there".to_owned());
    }
    if missing.iter().any(|package| packages::candidate(package).is_none()) {
        packages::update()?;
    }
    let work = dir().join(format!("work-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let done = packages::download(&work, &missing).or_else(|_stale| {
        packages::update()?;
        packages::download(&work, &missing)
    });
    let done = done.and_then(|()| unpack(&work)).and_then(|()| {
        missing.iter().try_for_each(|package| fs::write(mark(package), "").context("cannot mark a package"))
    });
    fs::remove_dir_all(&work).context("cannot remove the packages' archives")?;
    done.map(|()| format!("unpacked {}", missing.join(" ")))
}

fn mark(package: &str) -> PathBuf {
    dir().join(format!("{package}.unpacked"))
}

fn unpack(archives: &Path) -> Result<()> {
    for entry in fs::read_dir(archives)? {
        output(command("dpkg-deb", &["--extract"]).arg(entry?.path()).arg(dir()))?;
    }
    Ok(())
}
