//! What QEMU runs on, as proved by booting.
//!
//! `/dev/kvm` can be there, create a machine and even run a few instructions, and yet boot nothing. So the proof is a
//! boot: firmware reads a sector from a disk, and the sector's code writes a marker to the serial port. The verdict is kept
//! for this boot of the host and this QEMU.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use acp_core_system::command_line::Accelerator;
use acp_io_process::{Command, ProcessError};
use serde::{Deserialize, Serialize};

use crate::{
    config::{AcceleratorChoice, Config},
    host, persist,
};

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What QEMU runs on.
    pub(crate) accelerator: Accelerator,
    /// Why, in a sentence.
    pub(crate) reason: String,
    /// The version of QEMU; empty if there is none.
    pub(crate) qemu: String,
}

/// A verdict as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    qemu: String,
    kvm: bool,
    reason: String,
}

/// What the boot sector writes.
const MARKER: &str = "ACP-BOOTED";

/// Where the BIOS loads a boot sector.
const LOADED_AT: u16 = 0x7c00;

/// Writes [`MARKER`] to COM1 (port 0x3f8) and halts.
const CODE: [u8; 22] = [
    0xfc, // cld
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xbe, 0x16, 0x7c, // mov si, LOADED_AT + 22
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x03, // jz halt
    0xee, // out dx, al
    0xeb, 0xf8, // jmp next
    0xf4, // halt: hlt
    0xeb, 0xfd, // jmp halt
];

/// The size of the disk: firmware counts it in cylinders and boots none that has less than one.
const DISK_BYTES: usize = 1 << 20;

/// A disk whose first sector writes the marker when it is booted.
fn boot_disk() -> Vec<u8> {
    let mut disk = vec![0; DISK_BYTES];
    disk[..CODE.len()].copy_from_slice(&CODE);
    disk[CODE.len()..CODE.len() + MARKER.len()].copy_from_slice(MARKER.as_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    debug_assert_eq!(u16::from_le_bytes([CODE[6], CODE[7]]), LOADED_AT + 22);
    disk
}

/// Decides what QEMU runs on, from what is kept in `state` or by a boot.
pub(crate) async fn decide(config: &Config, state: &Path) -> Verdict {
    let qemu = match version(&config.qemu).await {
        Ok(qemu) => qemu,
        Err(error) => return tcg(format!("QEMU does not answer ({error}); nothing was probed"), String::new()),
    };
    match config.accelerator {
        AcceleratorChoice::Tcg => tcg("the configuration says tcg".to_owned(), qemu),
        AcceleratorChoice::Kvm => kvm("the configuration says kvm".to_owned(), qemu),
        AcceleratorChoice::Probe => kept_or_probed(config, state, qemu).await,
    }
}

async fn kept_or_probed(config: &Config, state: &Path, qemu: String) -> Verdict {
    let boot_id = host::boot_id().unwrap_or_default();
    let file = state.join("accelerator.json");
    match persist::read::<Kept>(&file) {
        Ok(Some(kept)) if !boot_id.is_empty() && kept.boot_id == boot_id && kept.qemu == qemu => {
            return if kept.kvm { kvm(kept.reason, qemu) } else { tcg(kept.reason, qemu) };
        }
        Ok(_) => {}
        Err(error) => {
            // The file may be a newer version's and is left alone.
            tracing::warn!(%error, "the verdict on the accelerator cannot be read");
            return probe(config, state, qemu).await;
        }
    }
    let verdict = probe(config, state, qemu).await;
    tracing::info!(accelerator = %verdict.accelerator, reason = verdict.reason, "accelerator decided");
    let kept = Kept {
        boot_id,
        qemu: verdict.qemu.clone(),
        kvm: verdict.accelerator == Accelerator::Kvm,
        reason: verdict.reason.clone(),
    };
    if let Err(error) = persist::write(&file, &kept) {
        tracing::warn!(%error, "the verdict on the accelerator cannot be kept and is found again at the next start");
    }
    verdict
}

async fn probe(config: &Config, state: &Path, qemu: String) -> Verdict {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return tcg(format!("/dev/kvm cannot be opened: {error}"), qemu);
    }
    let limit = config.probe_timeout();
    let started = tokio::time::Instant::now();
    match boot(&config.qemu, Accelerator::Kvm, state, limit).await {
        Ok(true) => kvm(format!("a boot sector ran under KVM after {} ms", started.elapsed().as_millis()), qemu),
        Ok(false) => tcg("QEMU ended under KVM before a boot sector ran".to_owned(), qemu),
        Err(BootError::Process(ProcessError::TimedOut { .. })) => {
            tcg(format!("/dev/kvm opens, but a boot sector did not run within {} ms", limit.as_millis()), qemu)
        }
        Err(error) => tcg(format!("a boot under KVM could not be tried: {error}"), qemu),
    }
}

/// Why a boot could not be tried.
#[derive(Debug, thiserror::Error)]
enum BootError {
    /// The disk could not be written.
    #[error("the disk {} cannot be written ({kind})", path.display())]
    Disk { path: PathBuf, kind: io::ErrorKind },
    /// QEMU could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Boots the sector; answers whether its marker was seen.
async fn boot(qemu: &str, accelerator: Accelerator, state: &Path, limit: Duration) -> Result<bool, BootError> {
    let path = state.join("probe.img");
    std::fs::write(&path, boot_disk()).map_err(|error| BootError::Disk { path: path.clone(), kind: error.kind() })?;
    let cpu = if accelerator == Accelerator::Kvm { "host" } else { "max" };
    let disk = format!("if=virtio,format=raw,read-only=on,file={}", path.display());
    let mut process = Command::new(qemu)
        .args(["-name", "acp-probe", "-machine", "q35", "-accel", accelerator.name(), "-cpu", cpu, "-m", "32M"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-serial", "stdio"])
        .args(["-drive", &disk])
        .time_limit(limit)
        .start()?;
    let mut seen = Vec::new();
    let mut chunk = [0; 256];
    loop {
        let count = process.read(&mut chunk).await?;
        seen.extend_from_slice(&chunk[..count]);
        if seen.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()) {
            return Ok(true);
        }
        if count == 0 || seen.len() > SEEN_BYTES_MAX {
            return Ok(false);
        }
    }
}

/// What is read from the serial port in search of the marker: firmware writes a screenful at most.
const SEEN_BYTES_MAX: usize = 64 << 10;

async fn version(qemu: &str) -> Result<String, ProcessError> {
    let output = Command::new(qemu).arg("--version").run_ok().await?;
    let text = output.text();
    let line = text.lines().next().unwrap_or_default();
    Ok(line.strip_prefix("QEMU emulator version ").unwrap_or(line).to_owned())
}

fn kvm(reason: String, qemu: String) -> Verdict {
    Verdict { accelerator: Accelerator::Kvm, reason, qemu }
}

fn tcg(reason: String, qemu: String) -> Verdict {
    Verdict { accelerator: Accelerator::Tcg, reason, qemu }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generous, because it only passes when the boot is broken.
    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_boot_sector_boots() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let booted = boot("qemu-system-x86_64", Accelerator::Tcg, directory.path(), LIMIT).await;
        assert!(matches!(booted, Ok(true)), "{booted:?}");
    }

    #[tokio::test]
    async fn a_verdict_is_kept_for_the_boot_and_the_qemu() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = Kept {
            boot_id: host::boot_id().expect("a boot id"),
            qemu: "1.0".to_owned(),
            kvm: true,
            reason: "kept".to_owned(),
        };
        persist::write(&directory.path().join("accelerator.json"), &kept).expect("written");
        let config = Config { probe_timeout_ms: 1, ..Config::default() };
        let verdict = kept_or_probed(&config, directory.path(), "1.0".to_owned()).await;
        assert_eq!(verdict, kvm("kept".to_owned(), "1.0".to_owned()));
        let other = kept_or_probed(&config, directory.path(), "2.0".to_owned()).await;
        assert_eq!(other.accelerator, Accelerator::Tcg, "nothing boots within a millisecond: {other:?}");
    }

    #[tokio::test]
    async fn without_qemu_the_reason_says_so() {
        let config = Config { qemu: "acp-no-such-qemu".to_owned(), ..Config::default() };
        let verdict = decide(&config, Path::new("/nonexistent")).await;
        assert!(verdict.reason.contains("not installed"), "{verdict:?}");
        assert_eq!(verdict.qemu, "");
    }
}
