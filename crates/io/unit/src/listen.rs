//! Listening sockets for units.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind as bind_socket, listen, socket_with};

use crate::Ownership;

/// The longest path of a Unix socket in bytes, from `sockaddr_un` (`unix(7)`), without its terminating NUL.
pub const PATH_BYTES_MAX: usize = 107;

/// Connections that wait while their daemon starts or restarts: more than there are local clients.
const BACKLOG: i32 = 512;

/// Why a socket cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The path does not fit into an address.
    #[error("the socket path {} has more than {PATH_BYTES_MAX} bytes with its suffix; use a shorter run directory", .0.display())]
    TooLong(PathBuf),
    /// The system refused; nothing changed at the path.
    #[error("cannot listen at {}", .path.display())]
    System {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Binds a listening stream socket aside and renames it over the path, so that the path is never missing.
///
/// # Errors
/// When the path is too long or the system refuses.
pub fn bind(path: &Path, ownership: Ownership) -> Result<OwnedFd, ListenError> {
    let aside = aside(path);
    if aside.as_os_str().len() > PATH_BYTES_MAX {
        return Err(ListenError::TooLong(path.to_owned()));
    }
    let bound = bind_at(&aside, ownership).and_then(|socket| fs::rename(&aside, path).map(|()| socket));
    bound.map_err(|source| ListenError::System { path: path.to_owned(), source })
}

fn bind_at(aside: &Path, ownership: Ownership) -> io::Result<OwnedFd> {
    match fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind_socket(&socket, &SocketAddrUnix::new(aside)?)?;
    std::os::unix::fs::chown(aside, Some(ownership.uid), Some(ownership.gid))?;
    fs::set_permissions(aside, fs::Permissions::from_mode(ownership.mode))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Whether the socket was made by [`bind`] for this path. Its address is that of the place aside, which renaming keeps.
pub fn is_bound_to(socket: impl AsFd, path: &Path) -> bool {
    let Ok(address) = rustix::net::getsockname(&socket) else { return false };
    let Ok(address) = SocketAddrUnix::try_from(address) else { return false };
    let is_same = address.path_bytes() == Some(aside(path).as_os_str().as_bytes());
    is_same && rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false)
}

fn aside(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    aside.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn own(mode: u32) -> Ownership {
        Ownership { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw(), mode }
    }

    #[test]
    fn a_second_bind_takes_over_the_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.sock");
        let first = bind(&path, own(0o660)).expect("bound");
        let second = bind(&path, own(0o660)).expect("bound again");
        assert!(is_bound_to(&first, &path) && is_bound_to(&second, &path));
        assert!(!is_bound_to(&first, &directory.path().join("y.sock")));
        drop(first);
        UnixStream::connect(&path).expect("the second one listens");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o660);
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused() {
        let path = Path::new("/tmp").join("x".repeat(PATH_BYTES_MAX));
        assert!(matches!(bind(&path, own(0o660)), Err(ListenError::TooLong(_))));
    }
}
