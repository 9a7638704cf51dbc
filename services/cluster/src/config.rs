//! What an operator may set: `cluster.toml`.

use std::time::Duration;

use acp_io_store::Retention;
use schemars::JsonSchema;
use serde::Deserialize;

/// Bytes in a mebibyte.
const MIB: u64 = 1 << 20;

/// Seconds in a day.
const DAY_S: u64 = 86_400;

/// The configuration of the cluster service.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many days an entry of the log is kept that the newest snapshot covers. More lets `ReadLog` look further back and
    /// takes more of the disk.
    pub retention_days: u32,
    /// How many mebibytes of such entries are kept; whichever bound is reached first counts.
    pub retention_mib: u32,
    /// After how many entries a snapshot is written. Fewer make a start quicker; each takes a copy of all specs to disk.
    pub snapshot_entries: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { retention_days: 30, retention_mib: 256, snapshot_entries: 4_096 }
    }
}

impl Config {
    /// The two retention bounds as the store takes them.
    pub(crate) fn retention(&self) -> Retention {
        Retention {
            age: Duration::from_secs(u64::from(self.retention_days) * DAY_S),
            bytes: u64::from(self.retention_mib) * MIB,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_and_absent_ones_have_their_default() {
        let config: Config = toml::from_str("retention_days = 2").expect("valid");
        assert_eq!(config, Config { retention_days: 2, ..Config::default() });
        assert_eq!(config.retention().age, Duration::from_secs(172_800));
        assert!(toml::from_str::<Config>("retention = 2").is_err());
    }
}
