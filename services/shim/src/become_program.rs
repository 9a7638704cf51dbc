//! `acp-shim exec`: the process that becomes the unit's program.
//!
//! It runs alone with three descriptors open, so everything it does to itself (numbers of descriptors, user, capabilities) is
//! done with safe calls in plain order, and nothing of it can leak from or into another thread.

use std::{
    convert::Infallible,
    ffi::OsStr,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::Command,
};

use acp_io_unit::{capability::Capability, launch::Launch};
use rustix::{
    fs::{Mode, OFlags, open},
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Gid, Resource, Rlimit, Uid, setrlimit},
    stdio::{dup2_stdin, dup2_stdout, stderr, stdout},
    thread::{
        CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
        configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
        set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use crate::{receive, signals};

/// Why the program does not run: what was tried, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub(crate) struct ExecError {
    action: String,
    source: io::Error,
}

trait While<T> {
    fn trying(self, action: impl Into<String>) -> Result<T, ExecError>;
}

impl<T, E: Into<io::Error>> While<T> for Result<T, E> {
    fn trying(self, action: impl Into<String>) -> Result<T, ExecError> {
        self.map_err(|source| ExecError { action: action.into(), source: source.into() })
    }
}

/// Becomes the program; returns only if that failed, and has then told the framework.
pub(crate) fn run() -> ExecError {
    let launch = match receive::launch().trying("read the launch description") {
        Ok(launch) => launch,
        Err(error) => return tell(error, stdout()),
    };
    let received = match receive::descriptors(launch.descriptors).trying("receive descriptors") {
        Ok(received) => received,
        Err(error) => return tell(error, stdout()),
    };
    // A duplicate above the program's descriptors, which closes by itself when the program runs.
    let above = receive::FIRST + i32::try_from(received.len()).unwrap_or(i32::MAX);
    let report = match fcntl_dupfd_cloexec(stdout(), above).trying("keep the report open") {
        Ok(report) => report,
        Err(error) => return tell(error, stdout()),
    };
    let error = match execute(&launch) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    drop(received);
    tell(error, report)
}

fn tell(error: ExecError, socket: impl std::os::fd::AsFd) -> ExecError {
    receive::report(socket, &format!("failed {error}\n"));
    error
}

fn execute(launch: &Launch) -> Result<Infallible, ExecError> {
    enter_cgroups(launch)?;
    limit_resources(launch)?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).trying("open /dev/null")?;
    let mut command = Command::new(OsStr::new(&launch.program));
    command.args(&launch.arguments).env_clear().envs(launch.environment.iter().cloned());
    if launch.listeners > 0 {
        command.env("LISTEN_PID", std::process::id().to_string());
        command.env("LISTEN_FDS", launch.listeners.to_string());
    }
    drop_privileges(launch)?;
    signals::unblock().trying("unblock signals")?;
    dup2_stdin(&null).trying("redirect the input")?;
    dup2_stdout(stderr()).trying("redirect the output")?;
    Err(command.exec()).trying(format!("run {}", launch.program))
}

fn enter_cgroups(launch: &Launch) -> Result<(), ExecError> {
    for folder in &launch.cgroups {
        let file = folder.join("cgroup.procs");
        let entered = std::fs::File::options().write(true).open(&file).and_then(|mut file| file.write_all(b"0"));
        entered.trying(format!("enter {}", file.display()))?;
    }
    Ok(())
}

fn limit_resources(launch: &Launch) -> Result<(), ExecError> {
    if let Some(files) = launch.open_files_max {
        let limit = Rlimit { current: Some(files), maximum: Some(files) };
        setrlimit(Resource::Nofile, limit).trying("limit open files")?;
    }
    Ok(())
}

/// Keeps the named capabilities across the change of user and gives up everything else, also for what the program executes.
fn drop_privileges(launch: &Launch) -> Result<(), ExecError> {
    let kept = launch.capabilities.iter().fold(CapabilitySet::empty(), |set, capability| set | capability.as_set());
    let groups: Vec<Gid> = launch.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(launch.uid), Gid::from_raw(launch.gid));
    for capability in Capability::numbers().filter(|capability| !kept.contains(*capability)) {
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability).trying("bound capabilities")?,
            Ok(false) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error).trying("read capabilities"),
        }
    }
    set_keep_capabilities(true).trying("keep capabilities")?;
    set_thread_groups(&groups).trying("set supplementary groups")?;
    set_thread_res_gid(gid, gid, gid).trying(format!("become group {}", launch.gid))?;
    set_thread_res_uid(uid, uid, uid).trying(format!("become user {}", launch.uid))?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    set_capabilities(None, sets).trying("set capabilities")?;
    clear_ambient_capability_set().trying("clear ambient capabilities")?;
    for capability in kept.iter() {
        configure_capability_in_ambient_set(capability, true).trying("raise ambient capabilities")?;
    }
    set_no_new_privs(true).trying("forbid new privileges")
}
