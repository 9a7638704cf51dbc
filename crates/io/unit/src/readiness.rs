//! Waiting for a descriptor inside the runtime.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// The descriptor, watched for being readable.
#[expect(unsafe_code, reason = "registering has a contract about the descriptor's life, which owning it fulfils")]
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, refers to the same file description and answers the same number until it is dropped, and
    // the `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(|error| error.into_parts().1)
}
