//! A view of the file system in which the daemons' own users reach the node's files.
//!
//! A checkout below /root or a `mktemp -d` is closed to everybody else by its mode. The daemons run as users of their own and
//! have to reach their programs and sockets, and changing the mode of somebody's directory is not ours to do. So the node gets
//! a mount namespace of its own in which an open, empty directory lies over the closed one and holds only what the node
//! needs, under the same path. It ends with the node's last process.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Others may pass through a directory.
const OTHERS_EXECUTE: u32 = 0o001;

/// Gives this thread, and the processes it starts, a view in which everybody reaches `paths`; does nothing when everybody
/// does already.
pub(crate) fn open_for_all(paths: &[&Path]) -> Result<()> {
    let paths: Vec<PathBuf> = paths
        .iter()
        .map(|path| fs::canonicalize(path).with_context(|| format!("there is no {}", path.display())))
        .collect::<Result<_>>()?;
    let closed: Vec<PathBuf> = paths.iter().filter_map(|path| first_closed(path)).collect();
    if closed.is_empty() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing).context("cannot detach the mounts")?;
    // Only mounts of this very namespace can be bound, so the directories are opened after it was made.
    let kept: Vec<(PathBuf, File)> = paths
        .into_iter()
        .filter(|path| closed.iter().any(|dir| path.starts_with(dir)))
        .map(|path| File::open(&path).map(|file| (path, file)))
        .collect::<Result<_, _>>()
        .context("cannot open the node's directories")?;
    for dir in &closed {
        if is_closed(dir) {
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=0755,size=64k"))
                .with_context(|| format!("cannot cover {}", dir.display()))?;
        }
    }
    for (path, file) in &kept {
        fs::create_dir_all(path)?;
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        mount(Some(source.as_str()), path, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)
            .with_context(|| format!("cannot show {}", path.display()))?;
    }
    Ok(())
}

/// The topmost directory on the way to `path` through which not everybody may pass.
fn first_closed(path: &Path) -> Option<PathBuf> {
    let mut ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
    ancestors.reverse();
    ancestors.into_iter().find(|dir| is_closed(dir)).map(Path::to_owned)
}

fn is_closed(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS_EXECUTE == 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::namespace::on_thread;

    fn nobody_reads(path: &Path) -> bool {
        let out = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"])
            .arg(path)
            .output();
        out.expect("setpriv and cat are there").status.success()
    }

    #[test]
    fn everybody_reaches_what_lies_in_a_closed_directory() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: a mount namespace needs root");
            return;
        }
        let closed = PathBuf::from(format!("/tmp/acp-view-{}", std::process::id()));
        let (open, secret) = (closed.join("a/open"), closed.join("a/secret"));
        fs::create_dir_all(&open).expect("a directory");
        fs::write(open.join("file"), "x").expect("a file");
        fs::write(&secret, "x").expect("a file");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("ours");
        assert!(!nobody_reads(&open.join("file")), "the directory is not closed");
        let seen = on_thread(|| {
            open_for_all(&[&open])?;
            Ok((nobody_reads(&open.join("file")), nobody_reads(&secret)))
        });
        assert_eq!(seen.expect("the view"), (true, false));
        assert!(!nobody_reads(&open.join("file")), "the view is not ours alone");
        fs::remove_dir_all(&closed).expect("cleaned up, nothing is mounted there");
    }
}
