//! Who uses a file: QEMU's own locks.
//!
//! QEMU marks what it does with an image by open file description locks on single bytes (its `block/file-posix.c`): a
//! shared lock on byte 100 + n says "I use permission n", one on byte 200 + n says "nobody else may". Permission 1 is
//! writing. A worker speaks the same protocol: what it opens for a system carries the first lock from that moment on, and
//! as the lock belongs to the open file, it travels with the descriptor and ends with its last copy.

use std::{fs::File, os::fd::AsRawFd, time::Duration};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

use tokio::time::{Instant, sleep};

use super::WorkerError;

const WRITE_USED: libc::off_t = 101;
const WRITE_REFUSED: libc::off_t = 201;

/// How long a lock must last to count: a process that is just ending, and one between its fork and its exec, hold copies
/// of descriptors for some milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Whether another open file has this one open for writing, or keeps others from writing.
pub(super) async fn is_in_use(file: &File) -> Result<bool, WorkerError> {
    let end = Instant::now() + PATIENCE;
    loop {
        if !is_locked(file, WRITE_USED)? && !is_locked(file, WRITE_REFUSED)? {
            return Ok(false);
        }
        if Instant::now() >= end {
            return Ok(true);
        }
        sleep(PAUSE).await;
    }
}

/// Marks the open file as one that is written to; answers whether that was possible.
pub(super) async fn use_for_writing(file: &File) -> Result<bool, WorkerError> {
    if is_in_use(file).await? {
        return Ok(false);
    }
    let lock = byte(WRITE_USED, libc::F_RDLCK);
    match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(failed(file, errno)),
    }
}

fn is_locked(file: &File, start: libc::off_t) -> Result<bool, WorkerError> {
    let mut lock = byte(start, libc::F_WRLCK);
    match fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)) {
        Ok(_) => Ok(i32::from(lock.l_type) != libc::F_UNLCK),
        Err(errno) => Err(failed(file, errno)),
    }
}

fn byte(start: libc::off_t, kind: libc::c_int) -> libc::flock {
    let kind = libc::c_short::try_from(kind).expect("lock types are 0, 1 and 2");
    let whence = libc::c_short::try_from(libc::SEEK_SET).expect("it is 0");
    libc::flock { l_type: kind, l_whence: whence, l_start: start, l_len: 1, l_pid: 0 }
}

fn failed(file: &File, errno: Errno) -> WorkerError {
    WorkerError::io(format!("ask for the locks of descriptor {}", file.as_raw_fd()))(errno.into())
}
