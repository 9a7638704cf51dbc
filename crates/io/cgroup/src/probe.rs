//! What the host has.

use std::{fmt, path::PathBuf};

/// The controllers that ACP uses.
pub(crate) const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];

/// The layout's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Nothing is mounted: units have no limits and are not tracked as groups.
    None,
    /// A hierarchy per controller.
    V1,
    /// One hierarchy for all.
    V2,
    /// Controllers in v1 hierarchies, and a v2 hierarchy that has none of those in use.
    Hybrid,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        })
    }
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mount: PathBuf,
    /// v2's own files (`cgroup.kill`, `memory.max`) or v1's.
    pub(crate) unified: bool,
    /// Those of [`CONTROLLERS`] that it has.
    pub(crate) controllers: Vec<&'static str>,
}

/// Every hierarchy that ACP uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(crate) hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Reads the layout from `/proc/self/mountinfo`. `unified_controllers` answers the text of `cgroup.controllers` at a v2
    /// mount.
    pub(crate) fn parse(mountinfo: &str, unified_controllers: impl Fn(&str) -> String) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for line in mountinfo.lines() {
            let Some(hierarchy) = parse_mount(line, &unified_controllers) else { continue };
            let is_known = hierarchies
                .iter()
                .any(|known| known.unified == hierarchy.unified && known.controllers == hierarchy.controllers);
            let is_useful = hierarchy.unified || !hierarchy.controllers.is_empty();
            if is_useful && !is_known {
                hierarchies.push(hierarchy);
            }
        }
        Self { hierarchies }
    }

    /// What the layout is called.
    pub fn version(&self) -> Version {
        let has_v1 = self.hierarchies.iter().any(|hierarchy| !hierarchy.unified);
        let has_v2 = self.hierarchies.iter().any(|hierarchy| hierarchy.unified);
        match (has_v1, has_v2) {
            (false, false) => Version::None,
            (true, false) => Version::V1,
            (false, true) => Version::V2,
            (true, true) => Version::Hybrid,
        }
    }

    /// The controllers in use, like `memory cpu pids`.
    pub fn controllers(&self) -> Vec<String> {
        let has =
            |controller: &&str| self.hierarchies.iter().any(|hierarchy| hierarchy.controllers.contains(controller));
        CONTROLLERS.into_iter().filter(|controller| *controller != "cpuacct").filter(has).map(str::to_owned).collect()
    }
}

/// A line of `mountinfo` (`proc_pid_mountinfo(5)`): id parent device root POINT options ... - TYPE source SUPER-OPTIONS.
fn parse_mount(line: &str, unified_controllers: &impl Fn(&str) -> String) -> Option<Hierarchy> {
    let (front, back) = line.split_once(" - ")?;
    let point = front.split(' ').nth(4)?.replace("\\040", " ");
    let mut back = back.split(' ');
    let kind = back.next()?;
    let pick = |names: Vec<&str>| CONTROLLERS.into_iter().filter(|known| names.contains(known)).collect();
    let (unified, controllers) = match kind {
        "cgroup2" => (true, pick(unified_controllers(&point).split_whitespace().collect())),
        "cgroup" => (false, pick(back.nth(1)?.split(',').collect())),
        _ => return None,
    };
    Some(Hierarchy { mount: point.into(), unified, controllers })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
30 24 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
33 24 0:29 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
34 24 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
";
    const UNIFIED: &str = "35 24 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn v1_hybrid_v2_and_nothing_are_told_apart() {
        let none = |_mount: &str| String::new();
        let v1 = Layout::parse(V1, none);
        assert_eq!(v1.version(), Version::V1);
        assert_eq!(v1.controllers(), ["memory", "cpu", "pids"]);
        assert_eq!(v1.hierarchies.len(), 3, "freezer and systemd are of no use");
        let hybrid = Layout::parse(&format!("{V1}{UNIFIED}"), |_mount| "hugetlb".into());
        assert_eq!(hybrid.version(), Version::Hybrid);
        assert_eq!(hybrid.controllers(), ["memory", "cpu", "pids"]);
        let v2 = Layout::parse("1 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", |mount| {
            assert_eq!(mount, "/sys/fs/cgroup");
            "cpuset cpu io memory hugetlb pids".into()
        });
        assert_eq!(v2.version(), Version::V2);
        assert_eq!(v2.controllers(), ["memory", "cpu", "pids"]);
        assert_eq!(Layout::parse("1 2 0:3 / / rw - ext4 /dev/vda rw", none).version(), Version::None);
    }

    #[test]
    fn a_hierarchy_mounted_twice_is_used_once() {
        let twice = format!("{V1}{V1}");
        assert_eq!(Layout::parse(&twice, |_mount| String::new()), Layout::parse(V1, |_mount| String::new()));
    }

    #[test]
    fn any_mountinfo_gives_a_layout_without_doubles() {
        acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "mountinfo", |bytes| {
            let layout = Layout::parse(&String::from_utf8_lossy(bytes), |_mount| "cpu memory pids".to_owned());
            for (position, hierarchy) in layout.hierarchies.iter().enumerate() {
                assert!(hierarchy.unified || !hierarchy.controllers.is_empty(), "{hierarchy:?} is of no use");
                assert!(hierarchy.controllers.iter().all(|controller| CONTROLLERS.contains(controller)));
                let is_same = |other: &Hierarchy| {
                    (other.unified, &other.controllers) == (hierarchy.unified, &hierarchy.controllers)
                };
                assert!(!layout.hierarchies[..position].iter().any(is_same), "{hierarchy:?} is there twice");
            }
        });
    }
}
