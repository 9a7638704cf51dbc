//! A pool's directory, and how anything in it is reached.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use acp_base::Uid;
use acp_core_storeplan::Place;
use acp_io_failpoint::point;
use acp_wire_model::image::DiskFormat;
use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::{Pool, WorkerError};

/// Marks a directory as a pool's: holds the pool's uid.
const MARK: &str = ".acp-pool";
/// Where files are made before they appear.
const STAGING: &str = "staging";
/// What a directory may hold that is to become a pool: remains of one, and what `mkfs` leaves.
const KNOWN_ENTRIES: [&str; 7] = [".", "..", "images", "volumes", STAGING, MARK_ASIDE, "lost+found"];
const MARK_ASIDE: &str = ".acp-pool.new";

/// A path is resolved beneath a directory, follows no link of any kind and leaves no way out.
const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// Access to everything in a pool is its owner's alone: systems get descriptors, not paths.
const DIRECTORY_MODE: Mode = Mode::RWXU;

/// The pool and what is known of its directory.
#[derive(Debug)]
pub(super) struct Root {
    pool: Pool,
    is_prepared: AtomicBool,
    is_swept: AtomicBool,
}

/// A pool's directory, open. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Directory(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    root: OwnedFd,
    images: OwnedFd,
    volumes: OwnedFd,
    staging: OwnedFd,
}

/// Space of the file system in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) capacity_bytes: u64,
    pub(super) free_bytes: u64,
}

impl Root {
    pub(super) fn new(pool: Pool) -> Self {
        let is_prepared = AtomicBool::new(pool.is_prepared);
        Self { pool, is_prepared, is_swept: AtomicBool::new(false) }
    }

    pub(super) fn path(&self) -> String {
        self.pool.path.display().to_string()
    }

    /// Opens the directory; the first time in the pool's life it is made and marked. Blocks.
    pub(super) fn open(&self) -> Result<Directory, WorkerError> {
        let root = self.open_root()?;
        self.check_mark(root.as_fd())?;
        let images = self.subdirectory(&root, "images")?;
        let volumes = self.subdirectory(&root, "volumes")?;
        let staging = self.subdirectory(&root, STAGING)?;
        self.is_prepared.store(true, Ordering::Relaxed);
        let directory = Directory(Arc::new(Parts { root, images, volumes, staging }));
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            directory.sweep()?;
        }
        Ok(directory)
    }

    fn open_root(&self) -> Result<OwnedFd, WorkerError> {
        match rustix::fs::open(&self.pool.path, DIRECTORY, Mode::empty()) {
            Ok(root) => Ok(root),
            Err(Errno::NOENT) if self.is_prepared.load(Ordering::Relaxed) => Err(WorkerError::NotMounted(self.path())),
            Err(Errno::NOENT) => self.make_root(),
            Err(errno) => Err(self.refused(errno, "open the pool's directory")),
        }
    }

    fn make_root(&self) -> Result<OwnedFd, WorkerError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE.bits()).create(&self.pool.path);
        if let Err(error) = made {
            tracing::info!(path = self.path(), %error, "the pool's directory cannot be made");
            return Err(WorkerError::Missing { path: self.path(), uid: own_uid() });
        }
        let opened = rustix::fs::open(&self.pool.path, DIRECTORY, Mode::empty());
        opened.map_err(|errno| self.refused(errno, "open the pool's new directory"))
    }

    fn check_mark(&self, root: impl AsFd) -> Result<(), WorkerError> {
        match read_mark(&root) {
            Ok(Some(owner)) if owner == self.pool.uid.to_string() => Ok(()),
            Ok(Some(found)) if found.parse::<Uid>().is_err() => {
                Err(WorkerError::Mark { path: self.path(), found, uid: self.pool.uid })
            }
            Ok(Some(owner)) => Err(WorkerError::Foreign { path: self.path(), owner }),
            Ok(None) if self.is_prepared.load(Ordering::Relaxed) => Err(WorkerError::NotMounted(self.path())),
            Ok(None) => self.mark(&root),
            Err(errno) => Err(self.refused(errno, "read the pool's mark")),
        }
    }

    fn mark(&self, root: impl AsFd) -> Result<(), WorkerError> {
        let entries = names(root.as_fd()).map_err(|errno| self.refused(errno, "list the pool's directory"))?;
        if let Some(entry) = entries.into_iter().find(|name| !KNOWN_ENTRIES.contains(&name.as_str())) {
            return Err(WorkerError::NotEmpty { path: self.path(), entry });
        }
        write_mark(&root, self.pool.uid).map_err(|errno| self.refused(errno, "mark the pool's directory"))
    }

    fn subdirectory(&self, root: &OwnedFd, name: &str) -> Result<OwnedFd, WorkerError> {
        match rustix::fs::mkdirat(root, name, DIRECTORY_MODE) {
            Ok(()) => rustix::fs::fsync(root).map_err(|errno| self.refused(errno, "make a directory durable in"))?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.refused(errno, "make a directory in the pool")),
        }
        let opened = rustix::fs::openat2(root, name, DIRECTORY, Mode::empty(), CONFINED);
        opened.map_err(|errno| self.refused(errno, "open a directory in the pool"))
    }

    fn refused(&self, errno: Errno, doing: &str) -> WorkerError {
        match errno {
            Errno::ACCESS | Errno::PERM => WorkerError::Permission { path: self.path(), uid: own_uid() },
            other => WorkerError::errno(format!("{doing} {}", self.path()))(other),
        }
    }
}

impl Directory {
    /// The directory that a place's file lies in.
    pub(super) fn of(&self, place: &Place) -> &OwnedFd {
        match place {
            Place::Image(_) => &self.0.images,
            Place::Volume(_) => &self.0.volumes,
        }
    }

    pub(super) fn staging(&self) -> &OwnedFd {
        &self.0.staging
    }

    /// The names in `images/`, in no order.
    pub(super) fn image_names(&self) -> Result<Vec<String>, WorkerError> {
        names(&self.0.images).map_err(WorkerError::errno("list the pool's images"))
    }

    /// The names in `volumes/`, in no order.
    pub(super) fn volume_names(&self) -> Result<Vec<String>, WorkerError> {
        names(&self.0.volumes).map_err(WorkerError::errno("list the pool's volumes"))
    }

    /// Opens the file of a place; a link, a device or a pipe in its stead is not followed nor waited for.
    pub(super) fn open(&self, place: &Place, format: DiskFormat, access: OFlags) -> Result<File, Errno> {
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::openat2(self.of(place), place.file_name(format), flags, Mode::empty(), CONFINED)?;
        Ok(file.into())
    }

    /// Removes the files of a place, whatever their layout, durably. No error if there are none.
    pub(super) fn remove(&self, place: &Place) -> Result<(), WorkerError> {
        let directory = self.of(place);
        for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
            match rustix::fs::unlinkat(directory, place.file_name(format), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(WorkerError::errno(format!("remove {place}"))(errno)),
            }
        }
        point("storage-worker.remove.unlinked")?;
        rustix::fs::fsync(directory).map_err(WorkerError::errno(format!("remove {place} durably")))
    }

    /// Space of the file system.
    pub(super) fn space(&self) -> Result<Space, WorkerError> {
        let figures = rustix::fs::fstatvfs(&self.0.root).map_err(WorkerError::errno("ask for the pool's space"))?;
        let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
        Ok(Space { capacity_bytes: bytes(figures.f_blocks), free_bytes: bytes(figures.f_bavail) })
    }

    /// Removes what an earlier worker left in staging: nobody else works there.
    fn sweep(&self) -> Result<(), WorkerError> {
        let left = names(&self.0.staging).map_err(WorkerError::errno("list the pool's staging area"))?;
        for name in left.iter().filter(|name| !matches!(name.as_str(), "." | "..")) {
            tracing::info!(name, "an unfinished file is removed");
            if let Err(error) = rustix::fs::unlinkat(&self.0.staging, name, AtFlags::empty()) {
                tracing::warn!(name, %error, "an unfinished file cannot be removed");
            }
        }
        Ok(())
    }
}

/// The user this process runs as.
fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The longest content of the mark that is read: a uid has 36 bytes.
const MARK_BYTES_MAX: u64 = 64;

fn read_mark(root: impl AsFd) -> Result<Option<String>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat2(root, MARK, flags, Mode::empty(), CONFINED) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let mut text = String::new();
    file.take(MARK_BYTES_MAX).read_to_string(&mut text).map_err(|error| errno(&error))?;
    Ok(Some(text.trim().to_owned()))
}

fn write_mark(root: impl AsFd, uid: Uid) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(rustix::fs::openat2(&root, MARK_ASIDE, flags, mode, CONFINED)?);
    file.write_all(format!("{uid}\n").as_bytes()).map_err(|error| errno(&error))?;
    rustix::fs::fsync(&file)?;
    rustix::fs::renameat(&root, MARK_ASIDE, &root, MARK)?;
    rustix::fs::fsync(&root)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn names(directory: impl AsFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_a_newer_version_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (path, uid) = (directory.path().join("pool"), Uid::from_u128(7));
        let root = || Root::new(Pool { name: "p".to_owned(), uid, path: path.clone(), is_prepared: false });
        root().open().expect("made and marked");
        root().open().expect("marked");
        for text in ["acp-pool 2 whatever", "{\"version\":2}", "?"] {
            std::fs::write(path.join(MARK), text).expect("written");
            let error = root().open().expect_err("not understood");
            let said = error.to_string();
            assert!(matches!(error, WorkerError::Mark { .. }) && said.contains("(layout 1) knows"), "{said}");
            assert!(said.contains(&format!("write {uid} into it")), "{said}");
            assert_eq!(std::fs::read_to_string(path.join(MARK)).expect("kept"), text);
        }
        std::fs::write(path.join(MARK), Uid::from_u128(8).to_string()).expect("written");
        assert!(matches!(root().open(), Err(WorkerError::Foreign { .. })));
    }
}
