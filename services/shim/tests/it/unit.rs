//! `run`: one unit.

use std::{
    fs,
    os::{
        fd::AsFd as _,
        unix::{fs::MetadataExt as _, net::UnixListener},
    },
    path::{Path, PathBuf},
};

use acp_dev_wait::{seen, wait_for};
use acp_io_unit::{Process, SpawnError, Spawned, launch::Launch, record::Ended, spawn, wait_for_end};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{LIMIT, SHIM, is_root};

/// The user and group of the unit and of the shim in these tests: nobody has them.
const UNIT: u32 = 61_990;
const SHIM_USER: u32 = 61_991;

/// A unit that runs; ended, whatever becomes of the test.
struct Running(Spawned);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.main.signal(Signal::KILL).expect("root may");
        let has_ended = || seen(self.0.shim.has_ended(), |has_ended| *has_ended);
        wait_for("the end of the shim", LIMIT, has_ended).expect("it ends with its unit");
        self.0.shim.reap();
    }
}

struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::chown(directory.path(), Some(SHIM_USER), Some(SHIM_USER)).expect("root may");
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn shell(&self, script: &str) -> Launch {
        Launch {
            unit: "test".into(),
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("SECRET".into(), "x".into())],
            uid: UNIT,
            gid: UNIT,
            groups: vec![UNIT + 5],
            records: self.path().into(),
            log: self.log(),
            log_bytes_max: 1 << 20,
            log_files: 2,
            shim_uid: SHIM_USER,
            shim_gid: SHIM_USER,
            ..Launch::default()
        }
    }

    fn log(&self) -> PathBuf {
        self.path().join("test.log")
    }

    fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Runs the unit to its end and returns what was recorded of it.
    async fn end(&self, launch: &Launch) -> Ended {
        match start(launch).await {
            Ok(unit) => {
                let ended = wait_for_end(&unit.main, Some(&unit.shim), self.path()).await.expect("a record");
                unit.shim.ended().await;
                unit.shim.reap();
                ended
            }
            Err(SpawnError::Ended(ended)) => ended.expect("a record"),
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn start(launch: &Launch) -> Result<Spawned, SpawnError> {
    spawn(Path::new(SHIM), &[], launch, &[]).await
}

async fn running(launch: &Launch) -> Running {
    Running(start(launch).await.expect("it runs"))
}

fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .unwrap_or_default()
        .trim()
        .replace('\t', " ")
}

#[tokio::test]
async fn ends_and_output_are_recorded() {
    if !is_root("ends_and_output_are_recorded") {
        return;
    }
    let bench = Bench::new();
    let ended = bench.end(&bench.shell("echo out; echo err >&2; exit 3")).await;
    assert_eq!((ended.status, ended.signal), (Some(3), None));
    assert_eq!(bench.logged(), "out\nerr\n");
    let ended = bench.end(&bench.shell("kill -SEGV $$")).await;
    assert_eq!((ended.status, ended.signal), (None, Some(11)));
    assert_eq!(fs::metadata(bench.log()).expect("there").uid(), SHIM_USER, "the log belongs to the shim's user");
}

#[tokio::test]
async fn a_program_has_only_what_it_was_given() {
    if !is_root("a_program_has_only_what_it_was_given") {
        return;
    }
    let bench = Bench::new();
    let mut launch = bench.shell("exec sleep 1000");
    launch.capabilities = vec!["CAP_NET_ADMIN".parse().expect("known")];
    launch.open_files_max = Some(777);
    let Running(unit) = &running(&launch).await;
    let pid = unit.main.pid();
    let ids = format!("{UNIT} {UNIT} {UNIT} {UNIT}");
    assert_eq!(
        (status(pid, "Uid"), status(pid, "Gid"), status(pid, "Groups")),
        (ids.clone(), ids, (UNIT + 5).to_string())
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(pid, set), format!("{:016x}", 1 << 12), "{set}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "SigBlk"), "0".repeat(16));
    // The C library's own two signals are ignored where whoever started the test ignores them.
    let ignored = u64::from_str_radix(&status(pid, "SigIgn"), 16).expect("a number");
    assert_eq!(ignored & 0x7fff_ffff, 0);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("root may");
    assert!(limits.lines().any(|line| line.starts_with("Max open files") && line.contains(" 777 ")), "{limits}");
    // The shell becomes the program it runs; in between a process has no environment.
    let environment = || {
        let environment = fs::read(format!("/proc/{pid}/environ")).expect("root may");
        let environment = String::from_utf8_lossy(&environment).into_owned();
        if environment.contains("SECRET=x\0") { Ok(()) } else { Err(environment) }
    };
    wait_for("the environment", LIMIT, environment).expect("the program has what it was given");
}

#[tokio::test]
async fn the_shim_itself_has_nothing() {
    if !is_root("the_shim_itself_has_nothing") {
        return;
    }
    let bench = Bench::new();
    let Running(unit) = &running(&bench.shell("exec sleep 1000")).await;
    let pid = unit.shim.pid();
    // The shim drops its privileges before it reports; the test would see it otherwise.
    let ids = format!("{SHIM_USER} {SHIM_USER} {SHIM_USER} {SHIM_USER}");
    assert_eq!((status(pid, "Uid"), status(pid, "Groups")), (ids, String::new()));
    for set in ["CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, set), "0".repeat(16), "{set}");
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).expect("readable");
    assert!(!command.windows(6).any(|word| word == b"SECRET"), "no secret on the command line");
}

#[tokio::test]
async fn signals_that_ask_do_not_end_the_shim() {
    if !is_root("signals_that_ask_do_not_end_the_shim") {
        return;
    }
    let bench = Bench::new();
    let Running(unit) = &running(&bench.shell("exec sleep 1000")).await;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        unit.shim.signal(signal).expect("root may");
    }
    unit.main.signal(Signal::TERM).expect("root may");
    let ended =
        wait_for_end(&unit.main, Some(&unit.shim), bench.path()).await.expect("the shim lived on and recorded it");
    assert_eq!(ended.signal, Some(15));
}

#[tokio::test]
async fn a_shim_is_small() {
    if !is_root("a_shim_is_small") {
        return;
    }
    let bench = Bench::new();
    let Running(unit) = &running(&bench.shell("echo started; exec sleep 1000")).await;
    wait_for("output", LIMIT, || seen(bench.logged(), |text| text == "started\n")).expect("it writes");
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", unit.shim.pid())).expect("root may");
    let pss = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    eprintln!("the shim's Pss is {pss:?} kB");
    assert!(pss.is_some_and(|pss| pss < 1024), "{rollup}");
}

#[tokio::test]
async fn descriptors_land_in_order_and_listeners_are_announced() {
    if !is_root("descriptors_land_in_order_and_listeners_are_announced") {
        return;
    }
    let bench = Bench::new();
    let listener = UnixListener::bind(bench.path().join("s.sock")).expect("bound");
    let file = fs::File::create(bench.path().join("named")).expect("made");
    // No pipe, of which the shell itself would hold an end. It does not end before it is known to run.
    let seen = bench.path().join("seen");
    let script = format!(
        "echo $LISTEN_FDS $((LISTEN_PID - $$)); readlink /proc/$$/fd/3; echo named >&4; ls /proc/$$/fd; \
         until [ -e {} ]; do sleep 0.01; done",
        seen.display()
    );
    let mut launch = bench.shell(&script);
    (launch.descriptors, launch.listeners) = (2, 1);
    let unit = spawn(Path::new(SHIM), &[], &launch, &[listener.as_fd(), file.as_fd()]).await.expect("it runs");
    fs::File::create(seen).expect("made");
    wait_for_end(&unit.main, Some(&unit.shim), bench.path()).await.expect("a record");
    unit.shim.ended().await;
    unit.shim.reap();
    let logged = bench.logged();
    let lines: Vec<&str> = logged.lines().collect();
    assert_eq!(lines.first(), Some(&"1 0"), "{logged}");
    assert!(lines[1].starts_with("socket:"), "{logged}");
    assert_eq!(fs::read_to_string(bench.path().join("named")).expect("there"), "named\n");
    assert_eq!(lines[2..], ["0", "1", "2", "3", "4"], "nothing else is inherited: {logged}");
}

#[tokio::test]
async fn a_program_that_cannot_run_is_told_with_its_reason() {
    if !is_root("a_program_that_cannot_run_is_told_with_its_reason") {
        return;
    }
    let bench = Bench::new();
    let mut launch = bench.shell("");
    launch.program = "/no/such/program".into();
    let error = start(&launch).await.expect_err("there is no such program");
    assert_eq!(error.to_string(), "cannot run /no/such/program: No such file or directory (os error 2)");
    let mut launch = bench.shell("");
    launch.cgroups = vec!["/sys/fs/cgroup/no-such-group".into()];
    let error = start(&launch).await.expect_err("there is no such group");
    assert!(error.to_string().starts_with("cannot enter /sys/fs/cgroup/no-such-group/cgroup.procs: "), "{error}");
}

#[tokio::test]
async fn what_outlives_the_main_process_does_not_hold_the_shim() {
    if !is_root("what_outlives_the_main_process_does_not_hold_the_shim") {
        return;
    }
    let bench = Bench::new();
    let ended = bench.end(&bench.shell("sleep 1000 & echo $!; exit 0")).await;
    assert_eq!(ended.status, Some(0));
    let orphan: u32 = bench.logged().trim().parse().expect("its id");
    let start = acp_io_unit::procfs::start_time(orphan).expect("it runs on: ending it is the framework's matter");
    let orphan = Process::open(orphan, start).expect("no error").expect("it runs");
    orphan.signal(Signal::KILL).expect("root may");
    orphan.ended().await;
}

#[tokio::test]
async fn a_long_log_is_set_aside() {
    if !is_root("a_long_log_is_set_aside") {
        return;
    }
    let bench = Bench::new();
    let mut launch = bench.shell("i=0; while [ $i -lt 5000 ]; do echo line $i of a log; i=$((i+1)); done");
    launch.log_bytes_max = 32 << 10;
    bench.end(&launch).await;
    let read = |name: &str| fs::read_to_string(bench.path().join(name)).expect(name);
    let all = read("test.log.2") + &read("test.log.1") + &read("test.log");
    assert!(!bench.path().join("test.log.3").exists());
    assert!(read("test.log.1").len() <= (32 << 10) + 4096);
    let lines: Vec<&str> = all.lines().collect();
    let first = 5000 - lines.len();
    for (offset, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("line {} of a log", first + offset), "no line is broken or missing");
    }
}
