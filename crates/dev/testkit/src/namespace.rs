//! Network namespaces by name, each held by a mount on a file of its own: `/run/<name>.net`.
//!
//! Not in the directory of `ip netns`: that command, run by anybody for the first time, mounts the directory over itself and
//! hides what was there. Entered with setns(2) by a thread or with `nsenter`, never by `ip netns exec`, which mounts another
//! /sys and so hides the cgroups.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

/// Where the files lie.
const DIRECTORY: &str = "/run";

/// A named network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    path: PathBuf,
}

impl Namespace {
    /// The namespace of this name, whether it is there or not.
    pub fn named(name: &str) -> Self {
        Self { path: Path::new(DIRECTORY).join(format!("{name}.net")) }
    }

    /// The file to enter it by, for `nsenter --net=FILE`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there: whether something is mounted on its file.
    pub fn exists(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == self.path))
    }

    /// Makes it, with its loopback up, unless it is there.
    pub fn ensure(&self) -> Result<()> {
        if self.exists() {
            return Ok(());
        }
        File::create(&self.path).with_context(|| format!("cannot make {}", self.path.display()))?;
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            let own = Some("/proc/thread-self/ns/net");
            mount(own, &self.path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .with_context(|| format!("cannot mount {}", self.path.display()))?;
            let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("cannot run ip")?;
            if status.success() { Ok(()) } else { bail!("`ip link set lo up` ended with {status}") }
        })
    }

    /// Removes it; the kernel takes its links down with it. No error if it is not there.
    pub fn remove(&self) -> Result<()> {
        while self.exists() {
            umount2(&self.path, MntFlags::MNT_DETACH)
                .with_context(|| format!("cannot unmount {}", self.path.display()))?;
        }
        if self.path.exists() {
            fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        }
        Ok(())
    }

    /// Runs `work` on a thread of its own inside the namespace. Processes it starts are inside, too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = File::open(&self.path).with_context(|| format!("there is no namespace {}", self.path.display()))?;
        on_thread(|| {
            setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", self.path.display()))?;
            work()
        })
    }

    /// The names of the links inside, without the loopback.
    pub fn links(&self) -> Result<Vec<String>> {
        self.run(links_here)
    }
}

/// The names of the links that this thread sees, without the loopback.
pub fn links_here() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").context("cannot list links")?;
    let names = text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    Ok(names.filter(|name| name != "lo").collect())
}

/// Runs `work` on a thread that ends with it, so that what it does to its own view of the host stays there.
pub(crate) fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_comes_with_its_loopback_and_goes_without_a_trace() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: a network namespace needs root");
            return;
        }
        let namespace = Namespace::named(&format!("acp-test-{}", std::process::id()));
        namespace.ensure().expect("made");
        namespace.ensure().expect("there");
        let answered = namespace.run(|| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            std::net::TcpStream::connect(listener.local_addr()?)?;
            links_here()
        });
        assert_eq!(answered.expect("its loopback is up"), Vec::<String>::new());
        namespace.remove().expect("removed");
        assert!(!namespace.exists() && !namespace.path().exists());
        namespace.remove().expect("removing nothing is no error");
    }
}
