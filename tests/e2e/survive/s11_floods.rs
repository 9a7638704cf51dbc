//! S11: guests that take all they can get.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{
    cgroup,
    process::{self, Identity},
    terminal::Terminal,
    varlink::Conversation,
    wait_for,
};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    harness::Case,
    world::{LIMIT, World},
};

/// The cases of this line.
pub(crate) const CASES: &[Case] =
    &[Case { name: "survive::s11_guests_that_flood_and_eat_leave_the_daemons_their_figures", run: floods }];

/// Calls of each daemon that a percentile is taken of.
const CALLS: usize = 300;
/// A call beside the flood may take so many times what it takes without: more runnable threads than processors.
const RATIO_MAX: u32 = 10;
/// Below this nobody notices: what the scheduler's slices of a few milliseconds add up to for a call through two processes.
const P99_FLOOR: Duration = Duration::from_millis(50);
/// How much larger a daemon may be after the flood.
const GROWTH_BYTES_MAX: u64 = 8 << 20;
/// The bound that the test sets for console logs, so that it is reached within seconds.
const CONSOLE_LOG_BYTES: u64 = 64 << 10;
/// A console's log, the one set aside, and what comes while one becomes the other.
const CONSOLE_BYTES_MAX: u64 = 3 * CONSOLE_LOG_BYTES;
/// How many times the log's bound has to have come from the console before the flood counts as one.
const CONSOLE_TURNS: u64 = 3;
/// What all other logs may grow by while guests do what they want.
const LOGS_BYTES_MAX: u64 = 256 << 10;
/// What has to have come over the network and onto the disk.
const NETWORK_PACKETS_MIN: u64 = 2_000;
const DISK_BYTES_MIN: u64 = 32 << 20;
/// What the guest that eats has of its 256 MiB when it has eaten.
const EATEN_BYTES_MIN: u64 = 200 << 20;
/// A stop pulls the plug and takes away what was there.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Units that must stay as they are.
const DAEMONS: [&str; 5] = ["cluster", "storage", "storage-worker@default", "network", "hypervisor"];

/// A guest's command lines: a console that never ends, and somebody who listens to nothing.
const LOUD: &str = "(while :; do nc -l -p 9 >/dev/null; done &); yes 'the quick brown fox jumps over the lazy dog'";
/// Pings the bridge as fast as it answers, sends to the other guest, writes onto the disk, all without end; and fills a file
/// system in memory until there is no more.
const BUSY: &str = "for n in 1 2 3 4; do (ping -A -q -s 1400 10.77.0.1 >/dev/null 2>&1 &); done; \
                    (while :; do nc LOUD 9 </dev/zero; done >/dev/null 2>&1 &); \
                    (while :; do dd if=/dev/zero of=/dev/vda bs=1M count=60 conv=fsync; done >/dev/null 2>&1 &); \
                    mkdir /m; mount -t tmpfs -o size=240m none /m; dd if=/dev/zero of=/m/x bs=1M";

fn floods(world: &World) -> Result<()> {
    let config = world.node.layout().etc().join("vmm.toml");
    fs::write(&config, format!("console_log_bytes_max = {CONSOLE_LOG_BYTES}\n"))?;
    let names = ["loud", "busy"];
    each(names, |name| {
        world.create(name)?;
        world.start_system(name)?;
        world.wait_greeting(name, 1).map(drop)
    })?;
    fs::remove_file(&config)?;
    let guests = Guests { loud: Guest::find(world, "loud")?, busy: Guest::find(world, "busy")? };
    let units: Vec<String> = DAEMONS
        .map(str::to_owned)
        .into_iter()
        .chain([&guests.loud, &guests.busy].map(|guest| format!("vmm@{}", guest.instance)))
        .collect();
    let (p99_before, sizes_before, logs_before) =
        (p99s(world)?, sizes(world, &units)?, tree_bytes(&world.node.layout().log()));

    guests.loud.weighs_less_than_its_monitor(world)?;

    let mut loud = type_in(world, "loud", LOUD)?;
    let busy = type_in(world, "busy", &BUSY.replace("LOUD", &guests.loud.address))?;
    guests.wait_for_floods(world)?;
    let p99_beside = p99s(world)?;
    for ((daemon, before), (_, beside)) in p99_before.iter().zip(&p99_beside) {
        let limit = (*before * RATIO_MAX).max(P99_FLOOR);
        ensure!(*beside <= limit, "calls of {daemon} take {beside:?} beside the flood (p99), {before:?} without");
    }
    sizes_are_kept(world, &sizes_before)?;
    let grown = tree_bytes(&world.node.layout().log()).saturating_sub(logs_before);
    ensure!(grown <= LOGS_BYTES_MAX, "the logs have grown by {grown} bytes");
    let console = guests.loud.console_bytes(world);
    ensure!(console <= CONSOLE_BYTES_MAX, "the log of a console has {console} bytes");
    for (name, guest) in [("loud", &guests.loud), ("busy", &guests.busy)] {
        ensure!(world.show(name)?.status["pid"] == guest.qemu.pid, "{name} is not shown as it is");
    }
    // A console that is full of output is still one: its reader gets what comes last, and leaves.
    loud.write(b"\x1d")?;
    loud.wait_exit(LIMIT)?;
    drop((loud, busy));
    each(names, |name| {
        let started = Instant::now();
        world.stop_system(name)?;
        ensure!(started.elapsed() < STOP_LIMIT, "stopping {name} took {:?}", started.elapsed());
        world.delete(name)
    })
}

/// Does the same with both guests at once.
fn each(names: [&str; 2], work: impl Fn(&str) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let threads = names.map(|name| scope.spawn(move || work(name)));
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn type_in(world: &World, name: &str, command: &str) -> Result<Terminal> {
    let run_dir = world.node.layout().run();
    let environment = [("ACP_RUN_DIR", run_dir.to_str().unwrap_or_default()), ("TERM", "xterm")];
    let mut terminal = Terminal::run(&world.bin.join("acpctl"), &["system", "console", name], &environment)?;
    terminal.wait_for_text("Welcome to ACP", LIMIT)?;
    terminal.write(format!("\r{command}\r").as_bytes())?;
    Ok(terminal)
}

/// A guest from outside.
struct Guest {
    instance: String,
    qemu: Identity,
    tap: String,
    address: String,
}

struct Guests {
    loud: Guest,
    busy: Guest,
}

impl Guest {
    fn find(world: &World, name: &str) -> Result<Self> {
        let shown = world.show(name)?;
        let instance = shown.uid.replace('-', "");
        let qemu = world.node.unit_process(&format!("qemu@{instance}"))?;
        let tap = world.node.layout().namespace().run(|| tap_of(&shown.uid))?;
        let address = shown.spec["nics"][0]["address"].as_str().context("a system has an address")?.to_owned();
        Ok(Self { instance, qemu, tap, address })
    }

    /// The size of the console's log, with the one that was set aside.
    fn console_bytes(&self, world: &World) -> u64 {
        tree_bytes(&world.node.layout().state().join("vmm").join(&self.instance))
    }

    /// How many bytes have come from the console, as the log that is trimmed counts them.
    fn console_said(&self, world: &World) -> u64 {
        let base = world.node.layout().state().join("vmm").join(&self.instance).join("console.log.base");
        fs::read_to_string(base).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn memory(&self) -> Result<u64> {
        let files = ["memory.usage_in_bytes", "memory.current"];
        let group =
            cgroup::of_process(self.qemu.pid, "memory").or_else(|_none| cgroup::of_process(self.qemu.pid, ""))?;
        let file =
            files.iter().map(|file| group.join(file)).find(|file| file.exists()).context("no memory controller")?;
        Ok(fs::read_to_string(file)?.trim().parse()?)
    }

    /// Where processors are short, daemons go before guests.
    fn weighs_less_than_its_monitor(&self, world: &World) -> Result<()> {
        let vmm = world.node.unit_process(&format!("vmm@{}", self.instance))?;
        let (own, other) = (cpu_weight(self.qemu.pid)?, cpu_weight(vmm.pid)?);
        ensure!(own * 5 <= other, "the guest has the weight {own} beside a daemon's {other}");
        Ok(())
    }

    /// What its disks have been given to write.
    fn written(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.qemu.pid))?;
        let bytes =
            text.lines().find_map(|line| line.strip_prefix("wchar: ")).context("a process counts what it writes")?;
        Ok(bytes.trim().parse()?)
    }

    /// Packets that came from it.
    fn packets(&self, world: &World) -> Result<u64> {
        let text = world.node.layout().namespace().run(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix(self.tap.as_str())?.strip_prefix(':'));
        let packets = line.context("its tap is gone")?.split_whitespace().nth(1).context("a link counts packets")?;
        Ok(packets.parse()?)
    }
}

/// The share of processors that the group of a process has, in whatever unit the host counts.
fn cpu_weight(pid: i32) -> Result<u64> {
    let group = cgroup::of_process(pid, "cpu").or_else(|_none| cgroup::of_process(pid, ""))?;
    let file = ["cpu.shares", "cpu.weight"].map(|file| group.join(file)).into_iter().find(|file| file.exists());
    Ok(fs::read_to_string(file.context("no processor controller")?)?.trim().parse()?)
}

/// The link with the system's uid in its alias.
fn tap_of(uid: &str) -> Result<String> {
    let out = std::process::Command::new("ip").args(["-j", "link"]).output()?;
    let links: Value = serde_json::from_slice(&out.stdout)?;
    let plain = uid.replace('-', "");
    let is_its = |link: &&Value| {
        let alias = link["ifalias"].as_str().unwrap_or_default();
        alias.contains(uid) || alias.contains(&plain)
    };
    let found = links.as_array().context("no list of links")?.iter().find(is_its);
    let found = found.with_context(|| format!("no link of system {uid}: {links}"))?;
    Ok(found["ifname"].as_str().context("a link has a name")?.to_owned())
}

impl Guests {
    /// Each of the four floods is seen from outside before anything is measured beside them.
    fn wait_for_floods(&self, world: &World) -> Result<()> {
        let (packets, written) = (self.busy.packets(world)?, self.busy.written()?);
        wait_for("console, disk, network and memory to be flooded", LIMIT * 2, || {
            let look = || -> Result<[(u64, u64); 4]> {
                Ok([
                    (self.loud.console_said(world), CONSOLE_TURNS * CONSOLE_LOG_BYTES),
                    (self.busy.written()?.saturating_sub(written), DISK_BYTES_MIN),
                    (self.busy.packets(world)?.saturating_sub(packets), NETWORK_PACKETS_MIN),
                    (self.busy.memory()?, EATEN_BYTES_MIN),
                ])
            };
            let seen = look().map_err(|error| format!("{error:#}"))?;
            if seen.iter().all(|(seen, wanted)| seen >= wanted) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
    }
}

/// How long a call of each daemon takes at most in 99 of 100 cases.
fn p99s(world: &World) -> Result<Vec<(&'static str, Duration)>> {
    ["framework", "cluster", "storage", "network", "hypervisor"]
        .into_iter()
        .map(|daemon| Ok((daemon, p99(world, daemon)?)))
        .collect()
}

fn p99(world: &World, daemon: &str) -> Result<Duration> {
    let mut conversation = Conversation::open(&world.node.socket(daemon))?;
    let mut times = Vec::with_capacity(CALLS);
    for _call in 0..CALLS {
        let started = Instant::now();
        let reply = conversation.call("acp.daemon.GetHealth", json!({}))?;
        times.push(started.elapsed());
        ensure!(reply["error"].is_null(), "{daemon}: {reply}");
    }
    times.sort_unstable();
    Ok(times[CALLS * 99 / 100])
}

fn sizes(world: &World, units: &[String]) -> Result<Vec<(String, Identity, u64)>> {
    let size = |unit: &String| -> Result<_> {
        let process = world.node.unit_process(unit)?;
        Ok((unit.clone(), process, process::pss_bytes(process.pid)?))
    };
    units.iter().map(size).collect()
}

fn sizes_are_kept(world: &World, before: &[(String, Identity, u64)]) -> Result<()> {
    for (unit, process, bytes) in before {
        ensure!(*process == world.node.unit_process(unit)?, "{unit} was replaced meanwhile");
        let now = process::pss_bytes(process.pid)?;
        ensure!(now.saturating_sub(*bytes) <= GROWTH_BYTES_MAX, "{unit} has grown from {bytes} to {now} bytes");
    }
    Ok(())
}

/// The size of all files below a directory.
fn tree_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => tree_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_gone) => 0,
    };
    entries.map(size).sum()
}
