//! Small file systems in memory, for disks that are full or read-only.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// Bytes written at once to fill a file system, the last time as many as it takes.
const CHUNK: [usize; 2] = [1 << 20, 4_096];

/// A file system in memory, gone when it is dropped.
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
}

impl Mount {
    /// One of this size at this path.
    pub(crate) fn small(path: &Path, size: &str) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=0777"), "acp-e2e"], path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Changes an option of it.
    pub(crate) fn remount(&self, option: &str) -> Result<()> {
        mount(&["-o", &format!("remount,{option}")], &self.path)
    }

    /// Writes a file until nothing more fits; answers it.
    pub(crate) fn fill(&self) -> Result<PathBuf> {
        let path = self.path.join("filler");
        let mut file = File::create(&path)?;
        for bytes in CHUNK {
            loop {
                match file.write_all(&vec![0; bytes]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(path)
    }

    /// Takes it away; what is on it is gone.
    pub(crate) fn end(self) -> Result<()> {
        let status = Command::new("umount").arg(&self.path).status()?;
        ensure!(status.success(), "umount {} ended with {status}", self.path.display());
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nothing is left to do when it was unmounted; a case that failed may leave processes that have files open.
        drop(Command::new("umount").args(["--quiet", "--lazy"]).arg(&self.path).output());
    }
}

fn mount(options: &[&str], path: &Path) -> Result<()> {
    let out = Command::new("mount").args(options).arg(path).output().context("cannot run mount")?;
    ensure!(out.status.success(), "mount {}: {}", path.display(), String::from_utf8_lossy(&out.stderr).trim_end());
    Ok(())
}
