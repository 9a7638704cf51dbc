//! What the framework hands over, the description on standard input and descriptors through the socket on standard output, and
//! what it is told through that socket.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use acp_io_unit::launch::{BYTES_MAX, DESCRIPTORS_MAX, Launch};
use rustix::{
    io::fcntl_dupfd_cloexec,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    stdio::{stdin, stdout},
};

/// The first number of a descriptor that is passed on (`sd_listen_fds(3)`).
pub(crate) const FIRST: i32 = 3;

/// Reads the description, from its beginning however far others have read.
pub(crate) fn launch() -> io::Result<Launch> {
    let mut file = File::from(fcntl_dupfd_cloexec(stdin(), FIRST)?);
    file.rewind()?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes)?;
    Launch::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Receives `count` descriptors, which must land at [`FIRST`] and the numbers that follow, and stay open across exec.
pub(crate) fn descriptors(count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    recvmsg(stdout(), &mut [io::IoSliceMut::new(&mut byte)], &mut control, RecvFlags::empty())?;
    let mut received = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            received.extend(fds);
        }
    }
    let in_place = (FIRST..).zip(&received).all(|(number, fd)| fd.as_raw_fd() == number);
    if received.len() == count && in_place {
        return Ok(received);
    }
    Err(io::Error::other(format!("{count} descriptors were announced, {} came, in place: {in_place}", received.len())))
}

/// Says a line over the socket. If the framework is gone, it finds the records instead.
pub(crate) fn report(socket: impl AsFd, line: &str) {
    if let Err(error) = rustix::io::write(socket, line.as_bytes()) {
        crate::say(&format!("the framework is not there to be told: {error}"));
    }
}
