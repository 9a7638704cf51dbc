//! S13: a new build in place of the old one.
//!
//! The new build is the same code in other files: copies with a mark behind the end of each program, which the loader does
//! not read. What two versions of the code do to each other is told by a soak of two checkouts, not here; here every process
//! is replaced, under guests that run, and back again.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{
    node,
    process::{self, Identity},
    record::Record,
    terminal::Terminal,
    wait_for,
};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    harness::Case,
    world::{LIMIT, World},
};

/// The cases of this line.
pub(crate) const CASES: &[Case] =
    &[Case { name: "survive::s13_programs_are_replaced_under_a_guest_forward_and_back", run: forward_and_back }];

/// What is behind the end of each program of the new build.
const MARK: &[u8] = b"acp-new-build";
/// The longest time in which the guest may not have answered: it goes on by itself, so this is for a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How often it is asked.
const ASK_PAUSE: Duration = Duration::from_millis(100);

fn forward_and_back(world: &World) -> Result<()> {
    let (old, new) = (world.scratch("old")?, world.scratch("new")?);
    node::install(&world.bin, &old)?;
    mark_all(&world.bin, &new)?;
    world.create("lasting")?;
    world.start_system("lasting")?;
    let address = world.wait_greeting("lasting", 1)?;
    let guest = Guest::find(world)?;
    let before = guest.state(world)?;
    let mut console = open_console(world)?;

    let watch = Watch::default();
    let upgraded = thread::scope(|scope| {
        let asking = scope.spawn(|| watch.ask(world, address));
        let upgraded = exchange(world, &guest, &new, true)
            .and_then(|()| console_answers(&mut console, "new", 40))
            .and_then(|()| exchange(world, &guest, &old, false))
            .and_then(|()| console_answers(&mut console, "old", 50));
        watch.is_over.store(true, Ordering::Relaxed);
        let asked = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        upgraded.and(asked)
    });
    // The programs are as they were before anything else is tested with them.
    node::install(&old, &world.bin)?;
    upgraded?;
    ensure!(watch.answers.load(Ordering::Relaxed) > 0, "the guest was never asked");
    let after = guest.state(world)?;
    ensure!(after == before, "other objects are declared than before: {after:?}, before {before:?}");
    drop(console);
    world.stop_system("lasting")?;
    world.delete("lasting")?;
    fs::remove_dir_all(&old)?;
    fs::remove_dir_all(&new).context("cannot remove the new build")
}

/// Copies every program and puts the mark behind it.
fn mark_all(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        fs::copy(entry.path(), &copy)?;
        File::options().append(true).open(&copy)?.write_all(MARK)?;
    }
    Ok(())
}

/// Installs the programs and restarts everything, as docs/operations/upgrade.md has it.
fn exchange(world: &World, guest: &Guest, build: &Path, is_marked: bool) -> Result<()> {
    node::install(build, &world.bin)?;
    let outdated = world.node.json(&["service", "outdated"])?;
    let outdated = outdated.as_array().context("no list of processes")?.len();
    ensure!(outdated >= Guest::ours(world)?.len(), "only {outdated} processes are said to be outdated");
    world.node.run(&["service", "restart", "--outdated"])?;
    node::wait_ready(world.node.layout())?;
    ensure!(guest.qemu.is_alive() && guest.shim.is_alive(), "the guest, or its shim, did not survive the upgrade");
    // What a daemon had started before it was replaced, like a tool that is at work, ends by itself.
    wait_for("every process to run the new program", LIMIT, || match Guest::outdated_processes(world, is_marked) {
        Ok(left) if left.is_empty() => Ok(()),
        Ok(left) => Err(left.join(", ")),
        Err(error) => Err(format!("{error:#}")),
    })?;
    guest.is_reported(world)
}

/// The system's processes that an upgrade must not touch.
struct Guest {
    instance: String,
    qemu: Identity,
    shim: Identity,
}

impl Guest {
    fn find(world: &World) -> Result<Self> {
        let instance = world.show("lasting")?.uid.replace('-', "");
        let unit = format!("qemu@{instance}");
        let qemu = world.node.unit_process(&unit)?;
        let line = format!("run {unit}");
        let shim = world.node.processes().into_iter().find(|found| process::command_line(found.pid).ends_with(&line));
        Ok(Self { instance, qemu, shim: shim.context("QEMU has no shim")? })
    }

    /// Processes of ACP's programs, the guard included, but for the shims of guests.
    fn ours(world: &World) -> Result<Vec<Identity>> {
        let guard = Record::load(world.node.layout())?.context("the node was started")?.guard;
        let processes = world.node.processes().into_iter();
        let is_guests = |found: &Identity| process::command_line(found.pid).contains(" run qemu@");
        let is_ours = |found: &Identity| process::name(found.pid).starts_with("acp-") && !is_guests(found);
        Ok(processes.filter(is_ours).chain([guard]).collect())
    }

    /// Those that do not run what is on disk now, each in a few words.
    fn outdated_processes(world: &World, is_marked: bool) -> Result<Vec<String>> {
        let is_current = |found: &Identity| {
            let program = PathBuf::from(format!("/proc/{}/exe", found.pid));
            let path = fs::read_link(&program)?;
            let is_there = path.starts_with(&world.bin) && !path.to_string_lossy().ends_with(" (deleted)");
            Ok::<bool, anyhow::Error>(is_there && has_mark(&program)? == is_marked)
        };
        let ours = Self::ours(world)?;
        ensure!(ours.len() > 10, "only {} processes are ours", ours.len());
        let left = ours.into_iter().filter(|found| found.is_alive() && !is_current(found).unwrap_or(false));
        Ok(left.map(|found| format!("{} {}", found.pid, process::command_line(found.pid))).collect())
    }

    /// What stays behind is told, and nothing else: shims of QEMUs. QEMU itself was not replaced.
    fn is_reported(&self, world: &World) -> Result<()> {
        let told = world.node.json(&["service", "outdated"])?;
        let told = told.as_array().context("no list of processes")?;
        let stays = |entry: &&Value| entry["role"] == "shim" && entry["is_kept"] == true;
        let others: Vec<&Value> = told.iter().filter(|entry| !stays(entry)).collect();
        ensure!(others.is_empty(), "told to be outdated after everything was restarted: {others:?}");
        // The shim was started from the old build; when that is back, another file has its place all the same.
        let unit = format!("qemu@{}", self.instance);
        let is_own = |entry: &Value| entry["unit"] == unit && entry["pid"] == self.shim.pid;
        ensure!(told.iter().any(is_own), "the shim of {unit} is not told: {told:?}");
        Ok(())
    }

    /// Everything declared, and the guest's process.
    fn state(&self, world: &World) -> Result<(Vec<String>, Value)> {
        let status = world.wait_state("lasting", "running", LIMIT)?;
        ensure!(status["pid"] == self.qemu.pid, "the node lost track of the guest: {status}");
        Ok((world.specs()?, status["pid"].clone()))
    }
}

fn has_mark(program: &Path) -> Result<bool> {
    let mut file = File::open(program)?;
    file.seek(SeekFrom::End(-i64::try_from(MARK.len())?))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(end == MARK)
}

/// Asks the guest for its page again and again.
#[derive(Default)]
struct Watch {
    is_over: AtomicBool,
    answers: AtomicU32,
}

impl Watch {
    fn ask(&self, world: &World, address: IpAddr) -> Result<()> {
        let mut last = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            if world.page(address).is_ok_and(|page| page.contains("<h1>lasting</h1>")) {
                last = Instant::now();
                self.answers.fetch_add(1, Ordering::Relaxed);
            }
            ensure!(last.elapsed() < SILENCE_MAX, "the guest did not answer for {:?}", last.elapsed());
            thread::park_timeout(ASK_PAUSE);
        }
        Ok(())
    }
}

fn open_console(world: &World) -> Result<Terminal> {
    let run_dir = world.node.layout().run();
    let environment = [("ACP_RUN_DIR", run_dir.to_str().unwrap_or_default()), ("TERM", "xterm")];
    let mut console = Terminal::run(&world.bin.join("acpctl"), &["system", "console", "lasting"], &environment)?;
    console.wait_for_text("Welcome to ACP", LIMIT)?;
    Ok(console)
}

/// The terminal that was opened before everything was replaced goes on. What is typed while it connects again is lost, so it
/// is typed until the guest has computed the answer.
fn console_answers(console: &mut Terminal, word: &str, number: u32) -> Result<()> {
    let answer = format!("{word}-{}", number + 2);
    wait_for("the console to answer", LIMIT, || {
        let typed = console.write(format!("\recho {word}-$(({number}+2))\r").as_bytes());
        typed.and_then(|()| console.wait_for_text(&answer, ASK_PAUSE * 5)).map_err(|error| format!("{error:#}"))
    })
}
