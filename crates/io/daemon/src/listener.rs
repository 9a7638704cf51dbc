//! The sockets a daemon answers at: inherited, or its own.

use std::{
    collections::BTreeMap,
    io,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
};

use crate::Fatal;

/// The name under which the framework passes the socket of a daemon's own interface.
pub(crate) const VARLINK: &str = "varlink";

/// The longest path of a Unix socket in bytes, from `sockaddr_un` (`unix(7)`).
const SOCKET_PATH_MAX: usize = 107;

/// Mode of a socket: its owner and the members of its group.
const SOCKET_MODE: u32 = 0o660;

/// Every inherited Unix listener by its name in LISTEN_FDNAMES.
pub(crate) fn inherited() -> Result<BTreeMap<String, UnixListener>, Fatal> {
    let mut fds = listenfd::ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut listeners = BTreeMap::new();
    for (position, name) in (0..fds.len()).zip(names.split(':').chain(std::iter::repeat(""))) {
        let taken = fds.take_unix_listener(position);
        let listener = taken.map_err(|error| Fatal::config(format!("inherited socket {position}: {error}")))?;
        if let Some(listener) = listener {
            let name = if name.is_empty() || name == "unknown" { VARLINK } else { name };
            listeners.insert(name.to_owned(), listener);
        }
    }
    Ok(listeners)
}

/// Binds a socket so that its path is never missing: aside first, then renamed over what was there.
pub(crate) fn bind(path: &Path, gid: Option<u32>) -> Result<UnixListener, Fatal> {
    let aside = path.with_extension("sock.new");
    let length = aside.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let text = format!(
            "the socket path {} has {length} bytes, a Unix socket's has at most {SOCKET_PATH_MAX}",
            aside.display()
        );
        return Err(Fatal::config(format!("{text}: use a shorter --run-dir")));
    }
    bind_aside(path, &aside, gid)
        .map_err(|error| Fatal::temporary(format!("cannot listen at {}: {error}", path.display())))
}

fn bind_aside(path: &Path, aside: &Path, gid: Option<u32>) -> io::Result<UnixListener> {
    match std::fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(aside)?;
    if gid.is_some() {
        std::os::unix::fs::chown(aside, None, gid)?;
    }
    std::fs::set_permissions(aside, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    std::fs::rename(aside, path)?;
    Ok(listener)
}
