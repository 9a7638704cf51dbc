//! Every process of the node is killed at the same time, under load, and the node is started again.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use acp_dev_testkit::{
    audit::Audit,
    cgroup,
    ledger::{Ledger, Line},
    load::{self, Load},
    node::acpctl_command,
    process, wait_for,
};
use anyhow::{Context as _, Result, ensure};
use rustix::{
    fs::{FileType, Mode, OFlags},
    process::Signal,
};
use serde_json::Value;

use super::left;
use crate::world::{LIMIT, World};

/// Acknowledgements of the load before everything is killed: enough that every client has had several.
const ACKNOWLEDGED: u64 = 30;
/// Content of the volume that is being copied: more than `qemu-img` copies before it is seen and stopped.
const COPIED_BYTES: usize = 96 << 20;
/// What an import that never ends has been given: more than a pipe holds, so it is known to have been read.
const IMPORTED_BYTES: usize = 1 << 20;
/// How long an interrupted job may take to be resumed or undone.
const RESUME_LIMIT: Duration = Duration::from_secs(60);

/// The kernel runs on: what it remembers of the dead is there and has to be taken over or removed.
pub(super) fn all_die(world: &World) -> Result<()> {
    drill(world, |_world| Ok(()))
}

/// Nothing of what the kernel and `/run` held is there any more, and the host has another boot id.
pub(super) fn the_host_boots_anew(world: &World) -> Result<()> {
    drill(world, forget)
}

/// Removes what a loss of power takes along.
fn forget(world: &World) -> Result<()> {
    let layout = world.node.layout();
    cgroup::remove(&layout.name())?;
    layout.namespace().remove()?;
    fs::remove_dir_all(layout.run()).context("cannot remove the run directory")?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    replace(&layout.state(), boot.trim(), "00000000-0000-4000-8000-000000000000")
}

/// Replaces a text in every small file that has it, as if it had been another from the start.
fn replace(folder: &Path, from: &str, to: &str) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            replace(&path, from, to)?;
        } else if let Some(text) = fs::read_to_string(&path).ok().filter(|text| kind.is_file() && text.contains(from)) {
            fs::write(&path, text.replace(from, to)).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn drill(world: &World, after_death: fn(&World) -> Result<()>) -> Result<()> {
    let runs = ["starts-itself", "was-running"];
    world.node.run(&[
        "system",
        "create",
        runs[0],
        "--image",
        "demo",
        "--network",
        "default",
        "--autostart",
        "--wait",
    ])?;
    world.create(runs[1])?;
    world.create("was-stopped")?;
    runs.iter().try_for_each(|name| world.start_system(name))?;
    let before: Vec<i64> = runs.iter().map(|name| pid(world, name)).collect::<Result<_>>()?;
    let half = HalfDone::begin(world)?;

    let ledger = Mutex::new(Ledger::default());
    let note = |line: Line| ledger.lock().unwrap_or_else(PoisonError::into_inner).note(line);
    let acknowledged = || ledger.lock().unwrap_or_else(PoisonError::into_inner).acknowledged();
    let load = Load { run: world.node.layout().run(), life: 0, networks: 2, volumes: 1, systems: 1 };
    std::thread::scope(|scope| {
        scope.spawn(|| load.run(&note));
        let begun = wait_for("writes to be acknowledged", LIMIT, || {
            if acknowledged() >= ACKNOWLEDGED { Ok(()) } else { Err(acknowledged()) }
        });
        // The clients end when nobody answers any more.
        world.node.kill_everything().and(begun)
    })?;
    after_death(world)?;
    world.node.boot()?;

    let audit = Audit { run: load.run.clone(), state: world.node.layout().state(), with_systems: true };
    let found = audit.run(&note)?;
    let differences = ledger.lock().unwrap_or_else(PoisonError::into_inner).settle();
    ensure!(differences.is_empty(), "{}", differences.join("; "));
    half.verify(world)?;
    for (name, before) in runs.iter().zip(before) {
        world.wait_state(name, "running", LIMIT)?;
        ensure!(pid(world, name)? != before, "{name} is said to be the process that was killed");
    }
    let stopped = world.show("was-stopped")?.status;
    ensure!(stopped["state"] == "stopped", "a system was started that was off: {stopped}");
    left::nothing_but_what_runs(world)?;
    world.page(world.wait_greeting(runs[0], 1)?)?;

    load::clear(&load.run, &found, &note)?;
    runs.iter().try_for_each(|name| world.stop_system(name))?;
    runs.iter().chain(&["was-stopped"]).try_for_each(|name| world.delete(name))?;
    left::nothing_but_what_runs(world)
}

fn pid(world: &World, name: &str) -> Result<i64> {
    world.wait_state(name, "running", LIMIT)?["pid"].as_i64().context("a running system has a process")
}

/// Work that is under way for certain when everything dies.
struct HalfDone {
    clients: [Child; 2],
    content: PathBuf,
    /// What the import reads from: it has no end as long as this is open.
    _source: fs::File,
}

impl HalfDone {
    const SOURCE: &'static str = "default/half-source";
    const COPY: &'static str = "default/half-copy";
    const IMAGE: &'static str = "half-image";

    fn begin(world: &World) -> Result<Self> {
        let volumes = world.node.layout().state().join("storage/pools/default/volumes");
        world.node.run(&["volume", "create", Self::SOURCE, "--format", "raw", "--size", "96MiB"])?;
        let content = volumes.join("half-source.raw");
        fs::File::options().write(true).open(&content)?.write_all(&noise(COPIED_BYTES))?;
        let copying = client(world, &["volume", "clone", Self::SOURCE, Self::COPY, "--wait"])?;
        let copier = wait_for("the copy to be made", LIMIT, || {
            world
                .node
                .processes()
                .into_iter()
                .find(|process| process::name(process.pid) == "qemu-img")
                .ok_or("no qemu-img")
        })?;
        copier.signal(Signal::STOP)?;
        ensure!(copier.is_alive(), "the copy was made before it could be stopped");
        let (importing, source) = Self::import(world)?;
        Ok(Self { clients: [copying, importing], content, _source: source })
    }

    /// Imports an image from a pipe that is never closed; returns when the first part of it has been read.
    fn import(world: &World) -> Result<(Child, fs::File)> {
        let pipe = world.scratch("power-loss")?.join("pipe");
        if !pipe.exists() {
            rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        }
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits())?;
        let mut source = fs::File::options().read(true).write(true).custom_flags(nonblocking).open(&pipe)?;
        let path = pipe.to_str().context("its path is no UTF-8")?;
        let importing = client(world, &["image", "import", Self::IMAGE, path, "--wait"])?;
        let content = noise(IMPORTED_BYTES);
        let mut written = 0;
        wait_for("the import to read", LIMIT, || {
            while written < content.len() {
                written +=
                    source.write(&content[written..]).map_err(|error| format!("{error} after {written} bytes"))?;
            }
            Ok::<_, String>(())
        })?;
        Ok((importing, source))
    }

    /// The copy was taken up and is whole; the import, whose source is gone, is undone and says so.
    fn verify(mut self, world: &World) -> Result<()> {
        // Both clients have asked the next daemon for the end of their jobs. Whether the copy's was there in time is its matter.
        let [copying, importing] = &mut self.clients;
        copying.wait()?;
        ensure!(!importing.wait()?.success(), "a client was told that an image was imported that is not whole");
        let copy = self.content.with_file_name("half-copy.raw");
        wait_for(
            "the copy to be taken up",
            RESUME_LIMIT,
            || if copy.exists() { Ok(()) } else { Err("it is not there") },
        )?;
        ensure!(fs::read(&copy)? == fs::read(&self.content)?, "the copy differs from its source");
        let jobs = world.call("storage", "acp.jobs.List", serde_json::json!({}))?;
        let job = |object: &str| -> Result<Value> {
            let all = jobs["jobs"].as_array().context("no list of jobs")?;
            all.iter().rfind(|job| job["object_name"] == object).cloned().with_context(|| format!("no job on {object}"))
        };
        let (cloned, imported) = (job(Self::COPY)?, job(Self::IMAGE)?);
        ensure!(cloned["state"] == "succeeded", "the copy was not taken up: {cloned}");
        let why = imported["error"]["message"].as_str().unwrap_or_default();
        ensure!(imported["state"] == "failed" && why.contains("import the image again"), "{imported}");
        let images = world.node.json(&["image", "list"])?;
        ensure!(!images.to_string().contains(Self::IMAGE), "an image was declared that is not whole: {images}");
        for volume in [Self::COPY, Self::SOURCE] {
            world.node.run(&["--yes", "volume", "delete", volume])?;
        }
        Ok(())
    }
}

/// A client that waits for the end of what it has begun.
fn client(world: &World, arguments: &[&str]) -> Result<Child> {
    let mut command = acpctl_command(world.node.layout());
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot run acpctl")
}

/// Bytes that no file system stores as holes.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(count).collect()
}
