//! QEMU's process, as its unit's shim has recorded it.

use std::{
    io,
    path::{Path, PathBuf},
};

use acp_io_unit::{Process, record::Started};
use rustix::process::Signal;

/// The unit of QEMU.
#[derive(Debug)]
pub(crate) struct Qemu {
    unit: PathBuf,
}

impl Qemu {
    /// The unit of this instance's QEMU.
    pub(crate) fn new(run: &Path, instance: &str) -> Self {
        Self { unit: run.join("units").join(format!("qemu@{instance}")) }
    }

    /// The process that runs, or has run last; `None` if none was recorded.
    pub(crate) fn started(&self) -> Option<Started> {
        Started::read(&self.unit)
    }

    /// Ends it; `false` if its process is not known. The vmm runs as QEMU's user, so it needs no privilege; QEMU's sandbox lets
    /// it have no children, so its process is all there is in its cgroup.
    pub(crate) fn kill(&self) -> io::Result<bool> {
        let Some(started) = self.started() else { return Ok(false) };
        if let Some(process) = Process::open(started.pid, started.start)? {
            process.signal(Signal::KILL)?;
        }
        Ok(true)
    }
}

/// Whether this very process lives.
pub(crate) fn lives(pid: u32, start: u64) -> bool {
    Process::open(pid, start).is_ok_and(|process| process.is_some_and(|process| !process.has_ended()))
}
