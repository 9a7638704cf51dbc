//! Programs that a bench starts beside ACP: peers from Debian packages, unpacked and not installed, and its own far sides.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
};

use anyhow::{Context as _, Result, ensure};

/// A process that ends with the bench.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        command.spawn().map(Self).with_context(|| format!("cannot start {command:?}"))
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.0.id())?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The directory into which the peers' packages were unpacked.
#[derive(Clone, Debug)]
pub struct Peers(PathBuf);

impl Peers {
    /// The peers below this directory.
    pub fn new(dir: &Path) -> Result<Self> {
        Ok(Self(std::path::absolute(dir).with_context(|| format!("cannot resolve {}", dir.display()))?))
    }

    /// A file of a package by its path in the system, like `usr/sbin/nginx`.
    pub(crate) fn file(&self, path: &str) -> Result<PathBuf> {
        let file = self.0.join(path);
        ensure!(file.exists(), "there is no {}: `cargo xtask bench` unpacks the peers", file.display());
        Ok(file)
    }

    /// One of their programs, which finds its libraries and helpers beside it.
    pub(crate) fn command(&self, path: &str) -> Result<Command> {
        let mut command = Command::new(self.file(path)?);
        command.env("LD_LIBRARY_PATH", self.0.join("usr/lib/x86_64-linux-gnu"));
        let search = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{search}", self.0.join("usr/bin").display()));
        Ok(command)
    }
}

/// This program itself, in one of its hidden roles.
pub(crate) fn own(role: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([role, "--bin-dir", ".", "--image", "."]);
    Ok(command)
}
