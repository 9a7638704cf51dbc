//! `respawn`: the guard.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{SHIM, wait_for};

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
    wait_for("the program to start", || {
        let text = read(&directory.join("guard.log"));
        let lives: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if lives.len() >= count { Ok(lives) } else { Err(text) }
    })
}

fn wait_gone(pid: i32) {
    wait_for("the program to be gone", || {
        let state = read(Path::new(&format!("/proc/{pid}/stat")));
        // An orphan stays a zombie where nobody reaps.
        if state.is_empty() || state.contains(") Z ") { Ok(()) } else { Err(state) }
    });
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
