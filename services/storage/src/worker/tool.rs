//! `qemu-img`, which gets descriptors and never a name of the pool.

use std::{
    os::fd::{OwnedFd, RawFd},
    time::Duration,
};

use acp_base::ByteSize;
use acp_core_storeplan::Place;
use acp_io_process::{Command, ProcessError};
use acp_wire_model::image::DiskFormat;

use super::{WorkerError, staged::Staged};

const PROGRAM: &str = "qemu-img";

/// Makes the staged file an empty qcow2 disk of this size, above `backing` if given. What lies below is named, not opened.
pub(super) async fn create(
    staged: &Staged,
    size: ByteSize,
    backing: Option<&(Place, DiskFormat)>,
) -> Result<(), WorkerError> {
    let mut command = Command::new(PROGRAM);
    let target = path(command.inherit(staged.descriptor()?));
    command = command.args(["create", "-q", "-u", "-f", "qcow2"]);
    if let Some((place, format)) = backing {
        command = command.arg("-b").arg(place.backing_name(*format)).arg("-F").arg(name(*format));
    }
    let run = command.arg(target).arg(size.bytes().to_string()).run_ok().await;
    run.map(drop).map_err(|error| failed("making the disk", error))
}

/// Makes a qcow2 disk larger, the top layer of this chain. It is told where the layers below are: it would look for the
/// names in their headers, which lead nowhere from a descriptor.
pub(super) async fn resize(layers: Vec<(OwnedFd, DiskFormat)>, size: ByteSize) -> Result<(), ResizeError> {
    let mut command = Command::new(PROGRAM);
    let disk = chain_node(&mut command, layers);
    let run = command.args(["resize", "-q"]).arg(format!("json:{disk}")).arg(size.bytes().to_string()).run_ok().await;
    run.map(drop).map_err(|error| {
        let is_locked = error.stderr().contains("lock");
        if is_locked { ResizeError::InUse } else { ResizeError::Other(failed("enlarging the disk", error)) }
    })
}

/// Why a disk was not made larger.
pub(super) enum ResizeError {
    /// Another process has it open.
    InUse,
    /// Anything else.
    Other(WorkerError),
}

/// Copies a chain, top layer first, into the staged file; says the percentage as it goes.
pub(super) async fn convert(
    layers: Vec<(OwnedFd, DiskFormat)>,
    staged: &Staged,
    format: DiskFormat,
    limit: Duration,
    mut on_percent: impl FnMut(u32) + Send,
) -> Result<(), WorkerError> {
    let mut command = Command::new(PROGRAM).time_limit(limit);
    let target = path(command.inherit(staged.descriptor()?));
    let source = format!("json:{}", chain_node(&mut command, layers));
    let command = command.args(["convert", "-p", "-O", name(format)]).arg(source).arg(target);
    let run = command.run_lines(|line| percent(line).into_iter().for_each(&mut on_percent)).await;
    run.and_then(acp_io_process::Output::success).map(drop).map_err(|error| failed("copying the disk", error))
}

/// Counts the errors in a qcow2 file.
pub(super) async fn check(staged: &Staged, limit: Duration) -> Result<(), WorkerError> {
    let mut command = Command::new(PROGRAM).time_limit(limit);
    let target = path(command.inherit(staged.descriptor()?));
    let run = command.args(["check", "-q", "--output=json", "-f", "qcow2"]).arg(target).run().await;
    let output = run.map_err(|error| failed("checking the image", error))?;
    match output.status.code() {
        // 3: clusters that are counted and not used; they waste space and harm nothing.
        Some(0 | 3) => Ok(()),
        Some(2) => Err(WorkerError::Damaged(corruptions(&output.stdout))),
        _ => {
            tracing::info!(status = %output.status, said = output.stderr, "the image cannot be checked");
            Err(WorkerError::Damaged(1))
        }
    }
}

fn corruptions(report: &[u8]) -> u64 {
    let report: serde_json::Value = serde_json::from_slice(report).unwrap_or_default();
    report["corruptions"].as_u64().unwrap_or(1)
}

fn path(number: RawFd) -> String {
    format!("/proc/self/fd/{number}")
}

/// A chain, top layer first, as QEMU reads it.
fn chain_node(command: &mut Command, layers: Vec<(OwnedFd, DiskFormat)>) -> serde_json::Value {
    let lowest_first = layers.into_iter().rev();
    lowest_first.fold(serde_json::Value::Null, |below, (file, format)| block_node(command.inherit(file), format, below))
}

fn block_node(number: RawFd, format: DiskFormat, below: serde_json::Value) -> serde_json::Value {
    let file = serde_json::json!({ "driver": "file", "filename": path(number) });
    match format {
        DiskFormat::Raw => serde_json::json!({ "driver": "raw", "file": file }),
        DiskFormat::Qcow2 => serde_json::json!({ "driver": "qcow2", "file": file, "backing": below }),
    }
}

const fn name(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Raw => "raw",
    }
}

/// The whole percents in a line like `    (12.34/100%)`.
fn percent(line: &str) -> Option<u32> {
    let number = line.trim().strip_prefix('(')?.strip_suffix("/100%)")?;
    number.split('.').next()?.parse().ok().filter(|percent| *percent <= 100)
}

/// A failed run; a full file system is told from the rest, because tools say it in words only.
fn failed(doing: &'static str, source: ProcessError) -> WorkerError {
    let said = source.stderr();
    if said.contains("No space left on device") || said.contains("Disk quota exceeded") {
        return WorkerError::NoSpace { free: ByteSize(0), needed: None };
    }
    WorkerError::Tool { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        assert_eq!(percent("    (12.34/100%)"), Some(12));
        assert_eq!(percent("    (100.00/100%)"), Some(100));
        assert_eq!(percent("Image resized."), None);
    }

    #[test]
    fn a_chain_is_one_tree_and_the_lowest_layer_ends_it() {
        let lowest = block_node(4, DiskFormat::Qcow2, serde_json::Value::Null);
        let top = block_node(3, DiskFormat::Qcow2, lowest);
        assert_eq!(top["file"]["filename"], "/proc/self/fd/3");
        assert_eq!(top["backing"]["file"]["filename"], "/proc/self/fd/4");
        assert!(top["backing"]["backing"].is_null());
        assert!(top["backing"].as_object().is_some_and(|node| node.contains_key("backing")));
    }

    #[test]
    fn whatever_qemu_img_says_is_a_percentage_or_nothing_and_a_damaged_image_stays_damaged() {
        acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "qemu-img", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            assert!(text.split(['\r', '\n']).filter_map(percent).all(|percent| percent <= 100), "{text}");
            let report: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
            assert_eq!(corruptions(bytes), report["corruptions"].as_u64().unwrap_or(1));
        });
    }
}
