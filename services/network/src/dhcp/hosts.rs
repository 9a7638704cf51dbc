//! The hosts directories: what each dnsmasq knows of its guests.
//!
//! They lie in this service's state directory and are read by dnsmasq, which runs as another user: the state directory
//! itself can be passed through and not listed (0711), everything below `dhcp/` can be read by all. It holds MAC and IP
//! addresses and names of systems, nothing else.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use acp_base::Uid;
use acp_core_netplan::dhcp::{Host, host_changes};
use acp_io_failpoint::point;

/// Passed through by dnsmasq's user, listed by nobody else.
const PASSAGE: u32 = 0o711;
/// Read by dnsmasq's user.
const DIRECTORY: u32 = 0o755;
/// Read by dnsmasq's user.
const FILE: u32 = 0o644;

/// dnsmasq leaves out files that begin with a dot.
const ASIDE: &str = ".new";

/// A file or directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
pub(crate) struct HostsError {
    path: PathBuf,
    source: io::Error,
}

/// All hosts directories.
#[derive(Debug)]
pub(crate) struct HostsDirectories {
    root: PathBuf,
}

impl HostsDirectories {
    /// Below this state directory.
    pub(crate) fn new(state: &Path) -> Self {
        Self { root: state.join("dhcp") }
    }

    /// The directory of one network.
    pub(crate) fn path(&self, network: Uid) -> PathBuf {
        self.root.join(network.simple())
    }

    /// Makes the directory of a network hold these guests; answers whether dnsmasq must be told.
    pub(crate) fn update(&self, network: Uid, hosts: &[Host]) -> Result<bool, HostsError> {
        let path = self.path(network);
        self.ensure(&path)?;
        let changes = host_changes(hosts, &read(&path)?);
        for (name, entry) in &changes.write {
            write(&path, name, entry)?;
            passed("network.hosts.written", &path)?;
        }
        for name in &changes.remove {
            let file = path.join(name);
            done(fs::remove_file(&file), &file)?;
            passed("network.hosts.removed", &path)?;
        }
        Ok(changes.needs_replacement)
    }

    /// The networks that have a directory.
    pub(crate) fn list(&self) -> Vec<Uid> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Removes the directory of a network.
    pub(crate) fn remove(&self, network: Uid) -> Result<(), HostsError> {
        let path = self.path(network);
        done(fs::remove_dir_all(&path), &path)
    }

    fn ensure(&self, path: &Path) -> Result<(), HostsError> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |source| HostsError { path, source }
        };
        fs::create_dir_all(path).map_err(wrong(path))?;
        if let Some(state) = self.root.parent() {
            permit(state, PASSAGE).map_err(wrong(state))?;
        }
        permit(&self.root, DIRECTORY).map_err(wrong(&self.root))?;
        permit(path, DIRECTORY).map_err(wrong(path))
    }
}

/// Adds these rights to those that are there.
fn permit(path: &Path, mode: u32) -> io::Result<()> {
    let present = fs::metadata(path)?.permissions().mode();
    if present & mode == mode { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(present | mode)) }
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, HostsError> {
    let mut files = BTreeMap::new();
    let wrong = |source| HostsError { path: path.to_owned(), source };
    for entry in fs::read_dir(path).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            // A file that cannot be read differs from whatever it should be.
            files.insert(name, fs::read_to_string(entry.path()).unwrap_or_default());
        }
    }
    Ok(files)
}

fn write(directory: &Path, name: &str, entry: &str) -> Result<(), HostsError> {
    let (aside, path) = (directory.join(ASIDE), directory.join(name));
    let replace = || {
        fs::write(&aside, entry)?;
        fs::set_permissions(&aside, Permissions::from_mode(FILE))?;
        point("network.hosts.aside-written")?;
        fs::rename(&aside, &path)
    };
    let replaced = replace();
    if replaced.is_err() {
        done(fs::remove_file(&aside), &aside)?;
    }
    replaced.map_err(|source| HostsError { path: path.clone(), source })
}

fn passed(name: &'static str, path: &Path) -> Result<(), HostsError> {
    point(name).map_err(|injected| HostsError { path: path.to_owned(), source: injected.into() })
}

fn done(result: io::Result<()>, path: &Path) -> Result<(), HostsError> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(HostsError { path: path.to_owned(), source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use acp_core_netplan::Mac;

    use super::*;

    fn host(last: u8) -> Host {
        let name = format!("guest{last}").parse().expect("a good name");
        Host { mac: Mac([0x52, 0x54, 0, 0, 0, last]), address: [10, 77, 0, last].into(), name }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn guests_come_and_go_as_files_that_another_user_can_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("network");
        let hosts = HostsDirectories::new(&state);
        let network = Uid::from_u128(1);
        assert!(!hosts.update(network, &[host(2), host(3)]).expect("written"));
        let file = hosts.path(network).join("52-54-00-00-00-02");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "52:54:00:00:00:02,10.77.0.2,guest2\n");
        assert_eq!((mode(&state) & PASSAGE, mode(&hosts.path(network)), mode(&file)), (PASSAGE, DIRECTORY, FILE));
        assert!(hosts.update(network, &[host(3)]).expect("written"));
        assert!(!file.exists());
        assert!(!hosts.update(network, &[host(3)]).expect("nothing to do"));
        assert_eq!(hosts.list(), [network]);
        hosts.remove(network).expect("removed");
        hosts.remove(network).expect("removed already");
        assert_eq!(hosts.list(), []);
    }

    #[test]
    fn what_a_killed_writer_left_aside_is_no_guest() {
        let directory = tempfile::tempdir().expect("a directory");
        let hosts = HostsDirectories::new(directory.path());
        let network = Uid::from_u128(1);
        hosts.update(network, &[]).expect("made");
        fs::write(hosts.path(network).join(ASIDE), "half an ent").expect("written");
        assert!(!hosts.update(network, &[host(2)]).expect("written"));
        assert_eq!(fs::read_dir(hosts.path(network)).expect("listed").count(), 1);
    }
}
