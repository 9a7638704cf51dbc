//! The timer on disk, for the next life of this process.
//!
//! It is written at each renewal and not synchronised: it counts in this boot of the host alone, and for the QEMU alone that
//! it was written for.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use acp_base::BootInstant;
use acp_core_lease::Deadlines;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::qemu::{Qemu, lives};

const VERSION: u64 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    boot: String,
    pid: u32,
    start: u64,
    term: u64,
    pause_at_ns: u64,
    kill_at_ns: u64,
    has_paused: bool,
}

/// Where the timer is kept.
#[derive(Debug)]
pub(crate) struct Keep {
    path: PathBuf,
}

impl Keep {
    pub(crate) fn new(state: &Path) -> Self {
        Self { path: state.join("lease.json") }
    }

    /// What was kept, and whether the timer had paused the machine, if that still is the same machine.
    pub(crate) fn load(&self, qemu: &Qemu) -> Option<(Deadlines, bool)> {
        let record: Record = match acp_io_record::read(&self.path, VERSION) {
            Ok(record) => record?,
            Err(error) => {
                warn!(%error, "the lease that was written down cannot be read; the hypervisor says it again");
                return None;
            }
        };
        let boot = qemu.started().map(|started| started.boot);
        if boot.as_deref() != Some(&record.boot) || !lives(record.pid, record.start) {
            return None;
        }
        let at = BootInstant::from_nanos;
        let Record { term, pause_at_ns, kill_at_ns, has_paused, .. } = record;
        Some((Deadlines { term, pause_at: at(pause_at_ns), kill_at: at(kill_at_ns) }, has_paused))
    }

    /// Keeps it; nothing is written for a QEMU whose process is not known.
    pub(crate) fn save(&self, qemu: &Qemu, deadlines: Deadlines, has_paused: bool) -> io::Result<()> {
        let Some(started) = qemu.started() else { return Ok(()) };
        let record = Record {
            boot: started.boot,
            pid: started.pid,
            start: started.start,
            term: deadlines.term,
            pause_at_ns: deadlines.pause_at.as_nanos(),
            kill_at_ns: deadlines.kill_at.as_nanos(),
            has_paused,
        };
        let aside = self.path.with_extension("new");
        fs::write(&aside, acp_io_record::to_bytes(VERSION, &record)?)?;
        fs::rename(aside, &self.path)
    }
}
