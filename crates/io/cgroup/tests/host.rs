//! Real groups of this host, in a folder of their own.

use std::{
    process::{Child, Command},
    time::Duration,
};

use acp_dev_wait::{seen, wait_for};
use acp_io_cgroup::{Cgroups, Group, Limits, Version};

/// How long the kernel may take for what these tests wait for.
const LIMIT: Duration = Duration::from_secs(10);

struct Folder {
    cgroups: Cgroups,
}

impl Folder {
    /// `None` where this user may not make groups; said aloud.
    fn open(test: &str) -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let opened = Cgroups::open(&format!("acp-test-{test}-{}", std::process::id()), "own");
        match opened {
            Ok(cgroups) if is_root && cgroups.layout().version() != Version::None => Some(Self { cgroups }),
            other => {
                eprintln!("skipped: needs root and control groups: {other:?}");
                None
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for name in self.cgroups.names() {
            let group = self.cgroups.group(&name);
            group.kill();
            remove(&group);
        }
        self.cgroups.remove().expect("the folder is empty");
    }
}

/// Removes a group as soon as the kernel lets go of its last member.
fn remove(group: &Group) {
    wait_for("the removal of the group", LIMIT, || group.remove()).expect("it has no members");
}

/// A shell that enters the group and then becomes the command.
fn run_in(group: &Group, script: &str) -> Child {
    let enter: Vec<String> =
        group.folders().iter().map(|folder| format!("echo 0 > {}/cgroup.procs", folder.display())).collect();
    Command::new("sh").args(["-c", &format!("{}; {script}", enter.join("; "))]).spawn().expect("sh runs")
}

#[test]
fn members_are_counted_measured_and_killed_with_their_children() {
    let Some(folder) = Folder::open("kill") else { return };
    let group = folder.cgroups.group("unit@1");
    group.create().expect("made");
    group.create().expect("making again is harmless");
    assert_eq!(folder.cgroups.names(), ["unit@1"]);
    let mut child = run_in(&group, "setsid sleep 1000 & setsid sleep 1000 & wait");
    wait_for("three members", LIMIT, || seen(group.processes(), |members| members.len() == 3)).expect("they run");
    wait_for("processor time", LIMIT, || seen(group.usage().cpu, |cpu| *cpu > Duration::ZERO)).expect("it is counted");
    assert!(group.remove().is_err(), "a group with members is not removed");
    group.kill();
    child.wait().expect("a child");
    wait_for("the end of the members", LIMIT, || {
        group.kill();
        seen(group.processes(), Vec::is_empty)
    })
    .expect("they were killed");
    remove(&group);
    group.remove().expect("removing again is harmless");
}

#[test]
fn the_memory_limit_holds_and_its_kills_are_counted() {
    let Some(folder) = Folder::open("oom") else { return };
    if !folder.cgroups.layout().controllers().contains(&"memory".to_owned()) {
        eprintln!("skipped: this host has no memory controller");
        return;
    }
    let group = folder.cgroups.group("hungry");
    group.create().expect("made");
    group
        .limit(&Limits { memory_bytes: Some(16 << 20), cpu_percent: Some(100), cpu_weight: Some(50), tasks: Some(20) })
        .expect("set");
    assert_eq!(group.oom_kills(), 0);
    let mut child = run_in(&group, "exec tail /dev/zero");
    wait_for("the kernel's kill", LIMIT, || seen(group.oom_kills(), |kills| *kills > 0)).expect("it is counted");
    let status = child.wait().expect("a child");
    assert!(!status.success(), "it was killed: {status}");
}

#[test]
fn the_caller_has_a_group_too() {
    let Some(folder) = Folder::open("own") else { return };
    let before = std::fs::read_to_string("/proc/self/cgroup").expect("readable");
    let own = folder.cgroups.adopt_self("own").expect("entered");
    let is_member = own.processes().contains(&std::process::id());
    // Back to where this process was, before anything else can fail.
    for line in before.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let mount = if controllers.is_empty() { "unified" } else { controllers };
        for folder in [format!("/sys/fs/cgroup/{mount}{path}"), format!("/sys/fs/cgroup{path}")] {
            if std::fs::write(format!("{folder}/cgroup.procs"), "0").is_ok() {
                break;
            }
        }
    }
    assert!(is_member);
    remove(&own);
}
