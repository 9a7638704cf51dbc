//! A file in the making.

use std::{fs::File, io, os::fd::AsFd, os::fd::OwnedFd};

use acp_core_storeplan::Place;
use acp_io_failpoint::point;
use acp_wire_model::image::DiskFormat;
use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags},
    io::Errno,
};

use super::{WorkerError, directory::Directory};

/// A file in the staging area, which is removed with this value unless it was moved into place.
#[derive(Debug)]
pub(super) struct Staged {
    directory: Directory,
    name: String,
    file: File,
    is_in_place: bool,
}

impl Staged {
    /// A new empty file that its owner alone may use. Blocks.
    pub(super) fn new(directory: &Directory) -> Result<Self, WorkerError> {
        let name = acp_io_daemon::new_uid().simple();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let confined = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(directory.staging(), &name, flags, Mode::RUSR | Mode::WUSR, confined);
        let file = File::from(opened.map_err(WorkerError::errno("make a file in the pool's staging area"))?);
        Ok(Self { directory: directory.clone(), name, file, is_in_place: false })
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// A descriptor for a tool to inherit.
    pub(super) fn descriptor(&self) -> Result<OwnedFd, WorkerError> {
        self.file.as_fd().try_clone_to_owned().map_err(WorkerError::io("duplicate a descriptor"))
    }

    /// Makes the file durable and moves it to its place, where nothing may be. Blocks for as long as writing takes.
    pub(super) fn put(mut self, place: &Place, format: DiskFormat) -> Result<(), WorkerError> {
        self.file.sync_all().map_err(WorkerError::io("write the file to its disk"))?;
        point("storage-worker.put.synced")?;
        let target = self.directory.of(place);
        match self.rename(target, &place.file_name(format)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let difference = "it came into being meanwhile".to_owned();
                return Err(WorkerError::Exists { place: place.clone(), difference });
            }
            Err(errno) => return Err(WorkerError::errno(format!("move {place} into place"))(errno)),
        }
        self.is_in_place = true;
        let durable = self.make_durable(target);
        if durable.is_err() {
            // What is said not to be there must not be there.
            self.directory.remove(place)?;
        }
        durable.map_err(WorkerError::io(format!("make {place} durable")))
    }

    fn make_durable(&self, target: &OwnedFd) -> io::Result<()> {
        point("storage-worker.put.renamed")?;
        rustix::fs::fsync(target)?;
        Ok(rustix::fs::fsync(self.directory.staging())?)
    }

    /// Moves without replacing. File systems without that kind of rename, NFS among them, get a second name first.
    fn rename(&self, target: &OwnedFd, name: &str) -> Result<(), Errno> {
        let staging = self.directory.staging();
        match rustix::fs::renameat_with(staging, &self.name, target, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(staging, &self.name, target, name, AtFlags::empty())?;
                rustix::fs::unlinkat(staging, &self.name, AtFlags::empty())
            }
            result => result,
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.is_in_place {
            return;
        }
        if let Err(error) = rustix::fs::unlinkat(self.directory.staging(), &self.name, AtFlags::empty()) {
            tracing::warn!(name = self.name, %error, "an unfinished file cannot be removed; the next worker tries again");
        }
    }
}
