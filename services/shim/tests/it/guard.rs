//! `respawn`: the guard.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
};

use acp_dev_wait::{seen, wait_for};
use rustix::process::{Pid, Signal, kill_process};

use crate::{LIMIT, SHIM};

fn guard(directory: &Path, script: &str) -> Child {
    let log = directory.join("guard.log");
    let mut command = Command::new(SHIM);
    command.args(["respawn", "--log"]).arg(log).args(["--", "/bin/sh", "-c", script]).current_dir(directory);
    command.spawn().expect("the guard runs")
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a process id"), signal).expect("it is ours");
}

fn id(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a process id fits")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The ids that the program wrote into the log, one a life, once there are `count`.
fn lives(directory: &Path, count: usize) -> Vec<i32> {
    wait_for("the program to start", LIMIT, || {
        let text = read(&directory.join("guard.log"));
        let lives: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if lives.len() >= count { Ok(lives) } else { Err(text) }
    })
    .expect("it writes its id")
}

fn wait_gone(pid: i32) {
    let stat = || read(Path::new(&format!("/proc/{pid}/stat")));
    // An orphan stays a zombie where nobody reaps.
    wait_for("the end of the program", LIMIT, || seen(stat(), |stat| stat.is_empty() || stat.contains(") Z ")))
        .expect("it is killed");
}

#[test]
fn a_killed_program_is_started_again_and_a_terminated_guard_takes_it_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = guard(directory.path(), "echo $$; trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done");
    let first = lives(directory.path(), 1)[0];
    signal(first, Signal::KILL);
    let second = lives(directory.path(), 2)[1];
    assert_ne!(first, second);
    signal(id(&child), Signal::TERM);
    let status = child.wait().expect("a child");
    assert_eq!(status.code(), Some(0));
    assert!(read(&directory.path().join("guard.log")).ends_with("bye\n"), "it ended by itself");
    wait_gone(second);
}

/// A guard that is ended however its test ends; its program goes with it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_program_that_stands_still_is_started_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(SHIM);
    command.arg("respawn").arg("--log").arg(directory.path().join("guard.log"));
    command.arg("--notify").arg(directory.path().join("notify"));
    // It gives one sign of life by itself and then none: what others say in its place does not count.
    let script = "import os,select,signal,socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
print(os.getpid(), flush=True)
s.send(b'WATCHDOG=1')
if os.fork() == 0:
    while True:
        s.send(b'WATCHDOG=1')
        select.select([], [], [], 0.1)
signal.pause()";
    let _guard = Ended(command.args(["--", "python3", "-c", script]).spawn().expect("the guard runs"));
    let started = std::time::Instant::now();
    let pids = lives(directory.path(), 2);
    assert_ne!(pids[0], pids[1]);
    let silence = std::time::Duration::from_secs(10);
    assert!(started.elapsed() >= silence, "it was ended after {:?}", started.elapsed());
}

#[test]
fn a_guard_that_is_killed_leaves_no_program() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = guard(directory.path(), "echo $$; exec sleep 1000");
    let program = lives(directory.path(), 1)[0];
    signal(id(&child), Signal::KILL);
    child.wait().expect("a child");
    wait_gone(program);
}

#[test]
fn a_hangup_renews_guard_and_program_under_the_same_process_id() {
    let directory = tempfile::tempdir().expect("a directory");
    let (own, next) = (directory.path().join("own"), directory.path().join("next"));
    fs::copy(SHIM, &own).and_then(|_bytes| fs::copy(SHIM, &next)).expect("copied");
    let mut command = Command::new(&own);
    command.args(["respawn", "--log", "guard.log", "--", "/bin/sh", "-c"]);
    command.arg("echo $$; trap 'exit 0' TERM; while :; do sleep 0.05; done").current_dir(directory.path());
    let mut child = command.spawn().expect("the guard runs");
    let first = lives(directory.path(), 1)[0];
    let program = || fs::read_link(format!("/proc/{}/exe", child.id())).expect("it runs").display().to_string();
    fs::rename(&next, &own).expect("replaced");
    assert!(program().ends_with(" (deleted)"), "{}", program());
    signal(id(&child), Signal::HUP);
    let second = lives(directory.path(), 2)[1];
    assert!(!program().ends_with(" (deleted)"), "the guard runs the old program");
    wait_gone(first);
    // One that cannot be executed is no end: the guard goes on and starts the program again.
    fs::remove_file(&own).expect("removed");
    signal(id(&child), Signal::HUP);
    let third = lives(directory.path(), 3)[2];
    wait_gone(second);
    signal(id(&child), Signal::TERM);
    assert_eq!(child.wait().expect("a child").code(), Some(0));
    wait_gone(third);
}

#[test]
fn the_contract_ends_the_guard_with_the_programs_status() {
    for status in [0, 64, 78] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = guard(directory.path(), &format!("echo $$; exit {status}"));
        assert_eq!(child.wait().expect("a child").code(), Some(status));
        assert_eq!(lives(directory.path(), 1).len(), 1, "not started again");
    }
}

#[test]
fn other_ends_are_followed_by_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child =
        guard(directory.path(), "echo $$; [ -e third ] && exit 0; [ -e second ] && touch third; touch second; exit 75");
    assert_eq!(child.wait().expect("a child").code(), Some(0));
    assert_eq!(lives(directory.path(), 3).len(), 3);
}

#[test]
fn a_wrong_command_line_is_refused() {
    let output = Command::new(SHIM).arg("fly").output().expect("it runs");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("acp-shim: usage: "));
}
