//! Reading a source to its end, within bounds.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use acp_base::ByteSize;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, fstat},
    io::Errno,
};
use sha2::{Digest, Sha256};

use super::{WorkerError, directory::Directory};

/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// After how many bytes the pool's free space is looked at again.
const SPACE_EVERY_BYTES: u64 = 64 << 20;
/// How long a wait for data lasts before it is looked whether anybody still wants it.
const WAIT: Duration = Duration::from_millis(200);

/// What bounds a retrieval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    pub(super) reserve_bytes: u64,
    pub(super) stall_limit: Duration,
}

/// How far a retrieval is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) bytes: u64,
    pub(super) total: Option<u64>,
}

impl Progress {
    pub(super) fn percent(self) -> Option<u32> {
        let total = self.total.filter(|total| *total > 0)?;
        let percent = u128::from(self.bytes.min(total)) * 100 / u128::from(total);
        u32::try_from(percent).ok()
    }
}

/// A source that was read to its end.
#[derive(Clone, Debug)]
pub(super) struct Retrieved {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Ends a retrieval on another thread when this value is dropped.
#[derive(Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The length of a source that has one.
pub(super) fn length(source: &OwnedFd) -> Option<u64> {
    let stat = fstat(source).ok().filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)?;
    u64::try_from(stat.st_size).ok()
}

/// Copies a source to its end into `target`, leaving holes for zeros. `on_progress` is told the bytes so far and answers
/// the expected length, if known. Blocks; ends early when `stop` is set.
pub(super) fn copy(
    source: &OwnedFd,
    target: &File,
    bounds: &Bounds,
    directory: &Directory,
    stop: &AtomicBool,
    mut on_progress: impl FnMut(u64) -> Result<Option<u64>, WorkerError>,
) -> Result<Retrieved, WorkerError> {
    let mut space = SpaceCheck { next: 0, bounds, directory };
    let mut sink = Sparse { file: target, length: 0 };
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        wait_for_data(source, bounds, stop)?;
        let count = match rustix::io::read(source, &mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(errno) => return Err(WorkerError::errno("read the source of the image")(errno)),
        };
        hash.update(&chunk[..count]);
        sink.write(&chunk[..count]).map_err(|error| space.full(error))?;
        let total = on_progress(sink.length)?;
        space.check(sink.length, total)?;
    }
    sink.finish().map_err(|error| space.full(error))?;
    Ok(Retrieved { bytes: sink.length, sha256: hexadecimal(&hash.finalize()) })
}

fn wait_for_data(source: &OwnedFd, bounds: &Bounds, stop: &AtomicBool) -> Result<(), WorkerError> {
    let mut waited = Duration::ZERO;
    let pause = Timespec::try_from(WAIT).expect("it is short");
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(WorkerError::Cancelled);
        }
        match poll(&mut [PollFd::new(source, PollFlags::IN)], Some(&pause)) {
            Ok(0) => waited += WAIT,
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(WorkerError::errno("wait for the source of the image")(errno)),
        }
        if waited >= bounds.stall_limit {
            return Err(WorkerError::Stalled(bounds.stall_limit.as_secs()));
        }
    }
}

/// Keeps the reserve of the pool.
struct SpaceCheck<'a> {
    next: u64,
    bounds: &'a Bounds,
    directory: &'a Directory,
}

impl SpaceCheck<'_> {
    fn check(&mut self, bytes: u64, total: Option<u64>) -> Result<(), WorkerError> {
        if bytes > self.bounds.bytes_max || total.is_some_and(|total| total > self.bounds.bytes_max) {
            return Err(WorkerError::TooLarge(ByteSize(self.bounds.bytes_max)));
        }
        if bytes < self.next {
            return Ok(());
        }
        self.next = bytes + SPACE_EVERY_BYTES;
        let free = self.free()?;
        let needed = total.map(|total| total.saturating_sub(bytes));
        if free == 0 || needed.is_some_and(|needed| needed > free) {
            return Err(WorkerError::NoSpace { free: ByteSize(free), needed: needed.map(ByteSize) });
        }
        Ok(())
    }

    fn free(&self) -> Result<u64, WorkerError> {
        Ok(self.directory.space()?.free_bytes.saturating_sub(self.bounds.reserve_bytes))
    }

    fn full(&self, error: std::io::Error) -> WorkerError {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                WorkerError::NoSpace { free: ByteSize(self.free().unwrap_or(0)), needed: None }
            }
            _ => WorkerError::io("write the image")(error),
        }
    }
}

/// Writes a file and leaves out what is zero.
struct Sparse<'a> {
    file: &'a File,
    length: u64,
}

impl Sparse<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if bytes.iter().all(|byte| *byte == 0) {
            self.file.seek(SeekFrom::Start(self.length)).map(drop)
        } else {
            self.file.write_all(bytes)
        }
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.length)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_need_a_total() {
        assert_eq!(Progress { bytes: 1, total: None }.percent(), None);
        assert_eq!(Progress { bytes: 0, total: Some(0) }.percent(), None);
        assert_eq!(Progress { bytes: 1, total: Some(3) }.percent(), Some(33));
        assert_eq!(Progress { bytes: u64::MAX, total: Some(u64::MAX) }.percent(), Some(100));
        assert_eq!(Progress { bytes: 9, total: Some(3) }.percent(), Some(100));
    }

    #[test]
    fn digests_are_written_in_hexadecimal() {
        assert_eq!(hexadecimal(&[0, 10, 255]), "000aff");
    }
}
