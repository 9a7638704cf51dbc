//! Directories with an owner and a mode.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::fs::{Mode, OFlags, open};

/// Who owns a directory or socket, and who may do what with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Makes the directory if it is not there and gives it this owner and mode, whatever it had. Never follows a symbolic link in
/// the last place, so that whoever owns the parent cannot redirect it.
///
/// # Errors
/// When the parent is missing, or the path is something else than a directory.
pub fn ensure_directory(path: &Path, ownership: Ownership) -> io::Result<()> {
    match fs::create_dir(path) {
        // What is made durable in it later has to be found after a loss of power.
        Ok(()) => path.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())?,
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_there) => {}
    }
    let directory = fs::File::from(open(
        path,
        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    let present = directory.metadata()?;
    if (present.uid(), present.gid()) != (ownership.uid, ownership.gid) {
        std::os::unix::fs::fchown(&directory, Some(ownership.uid), Some(ownership.gid))?;
    }
    if present.mode() & 0o7777 != ownership.mode {
        directory.set_permissions(fs::Permissions::from_mode(ownership.mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(mode: u32) -> Ownership {
        Ownership { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw(), mode }
    }

    #[test]
    fn a_directory_is_made_and_mended() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("state");
        for mode in [0o700, 0o711, 0o2770] {
            ensure_directory(&path, own(mode)).expect("made");
            assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, mode);
        }
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        let link = root.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).expect("made");
        assert!(ensure_directory(&link, own(0o700)).is_err());
    }
}
