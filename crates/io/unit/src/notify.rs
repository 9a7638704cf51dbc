//! The receiving end of `sd_notify(3)`: a datagram socket at a path, which the guard reads when it likes and the framework
//! in its runtime.

use std::{
    fs, io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::Path,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketAddrUnix, SocketFlags,
    SocketType, bind, recvmsg, socket_with, sockopt,
};

#[cfg(feature = "supervise")]
use crate::readiness;

/// The longest message in bytes: what `sd_notify` senders use is far below, and what exceeds it is cut off and ignored.
const MESSAGE_BYTES_MAX: usize = 4096;

/// What a process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// The sender, as the kernel reports it.
    pub pid: u32,
    /// `READY=1`.
    pub ready: bool,
    /// `WATCHDOG=1`.
    pub watchdog: bool,
    /// `STOPPING=1`.
    pub stopping: bool,
}

/// Binds a socket that does not block to the path and gives it this mode: aside first, then by a rename, so that a sender
/// never finds the path missing.
///
/// # Errors
/// When the system refuses.
pub fn bind_notify(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let aside = path.with_extension("new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_passcred(&socket, true)?;
    bind(&socket, &SocketAddrUnix::new(&aside)?)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(mode))?;
    fs::rename(&aside, path)?;
    Ok(socket)
}

/// A datagram socket at a path that every unit may write to.
#[cfg(feature = "supervise")]
#[derive(Debug)]
pub struct NotifySocket {
    socket: tokio::io::unix::AsyncFd<OwnedFd>,
}

#[cfg(feature = "supervise")]
impl NotifySocket {
    /// Binds aside and renames over the path, so that a sender never finds it missing.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn bind(path: &Path) -> io::Result<Self> {
        // Whoever writes is told apart by the kernel's word for its process id, so everybody may.
        Ok(Self { socket: readiness::watch(bind_notify(path, 0o666)?)? })
    }

    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub async fn receive(&self) -> io::Result<Notification> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| receive_notification(socket.get_ref())) {
                Ok(Ok(Some(notification))) => return Ok(notification),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }
}

/// One datagram; `None` if it has no sender or was cut off. Descriptors that come along are closed at once.
///
/// # Errors
/// When the socket cannot be read; `WouldBlock` when nothing is there.
pub fn receive_notification(socket: &OwnedFd) -> io::Result<Option<Notification>> {
    let mut bytes = [0_u8; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [io::IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let sender = control.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmCredentials(sender) => u32::try_from(sender.pid.as_raw_nonzero().get()).ok(),
        _other => None,
    });
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Ok(None);
    }
    let bytes = bytes.get(..message.bytes).unwrap_or_default();
    Ok(sender.map(|pid| parse(pid, bytes)))
}

fn parse(pid: u32, bytes: &[u8]) -> Notification {
    let mut notification = Notification { pid, ..Notification::default() };
    for line in bytes.split(|byte| *byte == b'\n') {
        match line {
            b"READY=1" => notification.ready = true,
            b"WATCHDOG=1" => notification.watchdog = true,
            b"STOPPING=1" => notification.stopping = true,
            _unknown => {}
        }
    }
    notification
}

#[cfg(all(test, feature = "supervise"))]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[tokio::test]
    async fn messages_come_with_their_sender_also_after_a_rebind() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let first = NotifySocket::bind(&path).expect("bound");
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.send_to(b"READY=1\nSTATUS=fine\nWATCHDOG=1", &path).expect("sent");
        let pid = std::process::id();
        let said = first.receive().await.expect("received");
        assert_eq!(said, Notification { pid, ready: true, watchdog: true, stopping: false });
        let second = NotifySocket::bind(&path).expect("bound again");
        sender.send_to(b"STOPPING=1", &path).expect("sent");
        let said = second.receive().await.expect("received");
        assert_eq!(said, Notification { pid, stopping: true, ..Notification::default() });
    }
}
