//! Where a node has its things, and the names that follow from its directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::namespace::Namespace;

/// The kernel's bound for the path of a Unix socket, with its terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 108;
/// The longest socket path below the run directory: `/storage-worker/<pool of 32>.sock` and `/vmm/<32 digits>/console.sock`
/// are 53 and 50 bytes; the rest is for what comes.
const SOCKET_TAIL_BYTES: usize = 60;

/// The places of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
    bin: PathBuf,
    id: String,
}

impl Layout {
    /// The node in `dir`, which is made if need be, with the programs in `bin`.
    pub fn new(dir: &Path, bin: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = fs::canonicalize(dir).with_context(|| format!("cannot resolve {}", dir.display()))?;
        let bin = std::path::absolute(bin).with_context(|| format!("cannot resolve {}", bin.display()))?;
        let id = format!("{:08x}", fold(dir.as_os_str().as_encoded_bytes()));
        Ok(Self { dir, bin, id })
    }

    /// The directory of everything else.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Eight hexadecimal digits that tell this node from others on the machine.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The sockets. When the directory's path is too long for sockets, they lie below /run and this is reached by a link.
    pub fn run(&self) -> PathBuf {
        let near = self.near_run();
        let bytes = near.as_os_str().len() + SOCKET_TAIL_BYTES;
        if bytes < SOCKET_PATH_BYTES_MAX { near } else { Path::new("/run").join(self.name()) }
    }

    /// Where the sockets are found from outside: always below the directory.
    pub fn near_run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// What survives a restart.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The logs.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The configuration.
    pub fn etc(&self) -> PathBuf {
        self.dir.join("etc")
    }

    /// What [`crate::record::Record`] keeps.
    pub(crate) fn record(&self) -> PathBuf {
        self.dir.join("node.json")
    }

    /// The name of its network namespace and of its folder in the cgroup hierarchies.
    pub fn name(&self) -> String {
        format!("acp-{}", self.id)
    }

    /// Its network namespace, if it has one of its own.
    pub fn namespace(&self) -> Namespace {
        Namespace::named(&self.name())
    }

    /// A daemon's socket.
    pub fn socket(&self, noun: &str) -> PathBuf {
        self.near_run().join(format!("{noun}.sock"))
    }

    /// Makes the directories that the node finds at its start.
    pub(crate) fn prepare(&self) -> Result<()> {
        let run = self.run();
        for dir in [&run, &self.state(), &self.log(), &self.etc()] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let near = self.near_run();
        if near != run && fs::symlink_metadata(&near).is_err() {
            std::os::unix::fs::symlink(&run, &near).with_context(|| format!("cannot make {}", near.display()))?;
        }
        Ok(())
    }

    /// Removes what does not survive the node.
    pub(crate) fn remove_run(&self) -> Result<()> {
        let run = self.run();
        if run.exists() {
            fs::remove_dir_all(&run).with_context(|| format!("cannot remove {}", run.display()))?;
        }
        let near = self.near_run();
        if near != run && fs::symlink_metadata(&near).is_ok() {
            fs::remove_file(&near).with_context(|| format!("cannot remove {}", near.display()))?;
        }
        Ok(())
    }
}

/// FNV-1a, folded to 32 bits: tells directories apart, protects nothing, and is the same in every build.
fn fold(bytes: &[u8]) -> u32 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    u32::try_from((hash >> 32) ^ (hash & 0xffff_ffff)).expect("the upper half is zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_directories_keep_their_sockets_elsewhere() {
        let root = std::env::temp_dir().join(format!("acp-layout-{}", std::process::id()));
        let near = Layout::new(&root.join("a"), Path::new("bin")).expect("a layout");
        assert_eq!(near.run(), near.dir().join("run"));
        let far = Layout::new(&root.join("x".repeat(80)), Path::new("bin")).expect("a layout");
        assert_eq!(far.run(), Path::new("/run").join(far.name()));
        assert_ne!(near.id(), far.id());
        fs::remove_dir_all(&root).expect("cleaned up");
    }
}
