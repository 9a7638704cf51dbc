//! `framework.toml`.

use acp_base::Name;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::template::Template;

/// The shipped configuration: the default for everything.
pub const SHIPPED: &str = include_str!("../../../config/framework.toml");

/// Every knob. What is absent is as shipped.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node's name. Default: the host's name up to the first dot.
    #[schemars(with = "Option<String>")]
    pub node_name: Option<Name>,
    /// The first of the numeric ids that are used where the system has no user `acp-<noun>` or no group `acp`: the group is
    /// this number, users follow it, those of systems begin 1,000 above and end 5,095 above. Change it if the range is taken.
    /// Default 61000.
    pub uid_base: u32,
    /// The folder of the units' control groups in each hierarchy. Two nodes on one machine need two. Default `acp`.
    pub cgroup_root: String,
    /// Size in bytes from which on a unit's log file is set aside. Larger keeps more, on disk. Default 8 MiB.
    pub log_bytes_max: u64,
    /// How many log files are kept of each unit besides the current one. Default 4.
    pub log_files: u32,
    /// Templates that replace shipped ones of the same name or are added to them.
    pub template: BTreeMap<String, Template>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: None,
            uid_base: 61_000,
            cgroup_root: "acp".to_owned(),
            log_bytes_max: 8 << 20,
            log_files: 4,
            template: BTreeMap::new(),
        }
    }
}

/// The smallest log file: below, lines would be torn apart all the time.
const LOG_BYTES_MIN: u64 = 4096;

/// The most log files of a unit: a bound on what a directory listing has to go through.
const LOG_FILES_MAX: u32 = 100;

impl Config {
    /// Says which value is out of its range. Templates are checked with the shipped ones, in [`crate::catalog`].
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        let is_folder = self.cgroup_root.parse::<Name>().is_ok();
        if !is_folder {
            return Err(format!("cgroup_root: {:?} is no name of a folder", self.cgroup_root));
        }
        if self.uid_base < 1000 || self.uid_base > u32::MAX - 10_000 {
            return Err(format!("uid_base: {} is not between 1000 and {}", self.uid_base, u32::MAX - 10_000));
        }
        if self.log_bytes_max < LOG_BYTES_MIN {
            return Err(format!("log_bytes_max: {} is below {LOG_BYTES_MIN}", self.log_bytes_max));
        }
        if self.log_files > LOG_FILES_MAX {
            return Err(format!("log_files: {} is above {LOG_FILES_MAX}", self.log_files));
        }
        Ok(())
    }

    /// The shipped configuration.
    ///
    /// # Errors
    /// When the shipped file is damaged, which a test excludes.
    pub fn shipped() -> Result<Self, String> {
        toml::from_str(SHIPPED).map_err(|error| format!("the shipped configuration: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_the_default() {
        let shipped = Config::shipped().expect("it is well-formed");
        assert_eq!(Config { template: BTreeMap::new(), ..shipped }, Config::default());
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn values_out_of_range_are_named() {
        let refused = |config: Config| config.check().expect_err("out of range");
        assert!(refused(Config { cgroup_root: "../x".into(), ..Config::default() }).starts_with("cgroup_root: "));
        assert!(refused(Config { uid_base: 0, ..Config::default() }).starts_with("uid_base: 0 "));
        assert!(refused(Config { log_bytes_max: 1, ..Config::default() }).starts_with("log_bytes_max: 1 "));
        assert!(refused(Config { log_files: 1000, ..Config::default() }).starts_with("log_files: 1000 "));
    }
}
