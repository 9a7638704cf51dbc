//! The folder of all of a node's groups.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    CgroupError, Group, Layout, Version,
    group::{Place, processes_in, write},
    probe::Hierarchy,
};

/// The group of the delegated one that systemd puts the service's process into (`DelegateSubgroup=` in `acp.service`).
const DELEGATED_LEAF: &str = "guard";

/// The folder of a node's groups in every hierarchy in use.
#[derive(Clone, Debug)]
pub struct Cgroups {
    layout: Layout,
    places: Vec<Place>,
}

impl Cgroups {
    /// Finds the hierarchies and makes the folder `root` in each. `own` is the name of the group of the caller itself (see
    /// [`Cgroups::adopt_self`]).
    ///
    /// In v1 the folder lies at the top of each hierarchy. In v2 it lies in the caller's own group, which is the top of the
    /// hierarchy, or what an init like systemd delegates.
    ///
    /// # Errors
    /// When mounts cannot be read or folders cannot be made.
    pub fn open(root: &str, own: &str) -> Result<Self, CgroupError> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").map_err(CgroupError::Mounts)?;
        let layout = Layout::parse(&mountinfo, |mount| {
            fs::read_to_string(Path::new(mount).join("cgroup.controllers")).unwrap_or_default()
        });
        let is_pure = layout.version() == Version::V2;
        let mut places = Vec::new();
        for hierarchy in &layout.hierarchies {
            let base = if is_pure { base(&hierarchy.mount, root, own) } else { hierarchy.mount.clone() };
            places.push(Self::prepare(hierarchy, &base, root, own)?);
        }
        Ok(Self { layout, places })
    }

    /// No groups at all, for a host where they cannot be used: nothing is limited, measured or killed through them.
    pub fn none() -> Self {
        Self { layout: Layout { hierarchies: Vec::new() }, places: Vec::new() }
    }

    fn prepare(hierarchy: &Hierarchy, base: &Path, root: &str, own: &str) -> Result<Place, CgroupError> {
        let folder = base.join(root);
        make(&folder)?;
        if hierarchy.unified && !hierarchy.controllers.is_empty() {
            give_controllers(base, &hierarchy.controllers, &folder.join(own))?;
            give_controllers(&folder, &hierarchy.controllers, &folder.join(own))?;
        }
        Ok(Place { folder, unified: hierarchy.unified, controllers: hierarchy.controllers.clone() })
    }

    /// The layout of this host.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Moves the caller into the group of its own name.
    ///
    /// # Errors
    /// When the group cannot be made or entered.
    pub fn adopt_self(&self, own: &str) -> Result<Group, CgroupError> {
        let group = self.group(own);
        group.create()?;
        for folder in group.folders() {
            write(&folder.join("cgroup.procs"), "enter", "0")?;
        }
        Ok(group)
    }

    /// The group of a unit, whether it exists or not.
    pub fn group(&self, unit: &str) -> Group {
        let places = self.places.iter();
        Group::new(places.map(|place| Place { folder: place.folder.join(unit), ..place.clone() }).collect())
    }

    /// The names of the groups that exist.
    pub fn names(&self) -> Vec<String> {
        let entries =
            self.places.first().and_then(|place| fs::read_dir(&place.folder).ok()).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Removes the folder, which has no groups any more.
    ///
    /// # Errors
    /// When groups are left.
    pub fn remove(&self) -> Result<(), CgroupError> {
        for place in &self.places {
            remove(&place.folder)?;
        }
        Ok(())
    }
}

/// The caller's group in the v2 hierarchy at `mount`, outside of the folder this crate makes there.
fn base(mount: &Path, root: &str, own: &str) -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    mount.join(outside(path, root, own).trim_start_matches('/'))
}

/// The group without the leaf that the caller was put into: by itself in an earlier life, or by an init that keeps its own
/// processes out of the group it delegates.
fn outside<'a>(path: &'a str, root: &str, own: &str) -> &'a str {
    let leaves = [format!("/{root}/{own}"), format!("/{DELEGATED_LEAF}")];
    leaves.iter().find_map(|leaf| path.strip_suffix(leaf)).unwrap_or(path)
}

/// Lets the groups below `folder` use the controllers. Processes in `folder` are in the way (the "no internal processes" rule
/// of `cgroups(7)`): they are moved into `shelter`.
fn give_controllers(folder: &Path, controllers: &[&str], shelter: &Path) -> Result<(), CgroupError> {
    let file = folder.join("cgroup.subtree_control");
    // cpuacct is no controller of v2.
    let wanted: Vec<String> =
        controllers.iter().filter(|name| **name != "cpuacct").map(|name| format!("+{name}")).collect();
    let wanted = wanted.join(" ");
    match fs::write(&file, &wanted) {
        Ok(()) => return Ok(()),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {}
        Err(error) => return Err(CgroupError::access("give controllers through", file)(error)),
    }
    make(shelter)?;
    for pid in processes_in(folder) {
        // One that has ended meanwhile needs no shelter.
        if let Err(error) = fs::write(shelter.join("cgroup.procs"), pid.to_string()) {
            tracing::debug!(pid, %error, "a process was not moved");
        }
    }
    write(&file, "give controllers through", &wanted)
}

pub(crate) fn make(folder: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(CgroupError::access("make", folder)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(crate) fn remove(folder: &Path) -> Result<(), CgroupError> {
    match fs::remove_dir(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CgroupError::access("remove", folder)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_caller_finds_the_same_base() {
        assert_eq!(outside("/system.slice/acp.service", "acp", "framework"), "/system.slice/acp.service");
        assert_eq!(outside("/system.slice/acp.service/acp/framework", "acp", "framework"), "/system.slice/acp.service");
        assert_eq!(outside("/acp/framework", "acp", "framework"), "");
        assert_eq!(outside("/", "acp", "framework"), "/");
        assert_eq!(outside("/system.slice/acp.service/guard", "acp", "framework"), "/system.slice/acp.service");
    }
}
