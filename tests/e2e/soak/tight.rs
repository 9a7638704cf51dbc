//! A pool that gets full: a small file system of its own, filled and emptied beside the pool's directory.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::PathBuf,
    process::Command,
};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use serde_json::json;

use super::ask::must;
use crate::world::{LIMIT, World};

/// The pool's name.
pub(super) const POOL: &str = "soak-tight";
/// The size of its file system in MiB: a pool keeps 256 in reserve, and some volumes of this soak fit beside that.
const SIZE_MIB: u64 = 288;

/// The file system; unmounted when it is dropped.
#[derive(Debug)]
pub(super) struct Tight {
    mount: PathBuf,
}

impl Tight {
    /// Mounts the file system and makes the pool on it.
    pub(super) fn make(world: &World) -> Result<Self> {
        let mount = world.scratch("soak")?.join("tight");
        fs::create_dir_all(&mount)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={SIZE_MIB}m"), "soak"]).arg(&mount))?;
        let tight = Self { mount };
        let pool = tight.mount.join("pool");
        fs::create_dir(&pool)?;
        let owner = fs::metadata(world.node.layout().state().join("storage"))?;
        chown(&pool, Some(owner.uid()), Some(owner.gid()))?;
        let path = pool.to_str().context("a path without strange characters")?;
        must(world.node.layout(), &["pool", "create", POOL, "--path", path].map(str::to_owned))?;
        Ok(tight)
    }

    /// Takes all the space there is. What somebody takes meanwhile is theirs; then as much as is left is taken.
    pub(super) fn fill(&self) -> Result<()> {
        let file = fs::File::create(self.mount.join("fill"))?;
        wait_for("the file system to be full", LIMIT, || {
            let free = fstatvfs(&file)?;
            let bytes = free.f_bavail * free.f_frsize;
            if bytes == 0 { Ok(()) } else { fallocate(&file, FallocateFlags::empty(), 0, bytes) }
        })
    }

    /// Gives the space back.
    pub(super) fn empty(&self) -> Result<()> {
        fs::remove_file(self.mount.join("fill")).context("cannot empty the file system")
    }

    /// Ends the pool.
    pub(super) fn end(world: &World) -> Result<()> {
        let pool = world.call("cluster", "acp.cluster.Get", json!({ "kind": "pool", "name": POOL }))?;
        let uid = pool["object"]["uid"].clone();
        world.call("cluster", "acp.cluster.Delete", json!({ "kind": "pool", "uid": uid })).map(drop)
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        // Lazily: a worker that still looks into it lets go on its own.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.mount)) {
            eprintln!("the tight file system stays: {error:#}");
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let out = command.output().context("cannot run mount")?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr).trim_end());
    if out.stderr.is_empty() { Ok(()) } else { bail!("{}", String::from_utf8_lossy(&out.stderr).trim_end()) }
}
