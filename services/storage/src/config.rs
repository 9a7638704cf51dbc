//! Every knob of the daemon.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `storage.toml`. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often every pool is looked at while nothing changes. More often finds trouble sooner and reads more headers.
    pub scan_interval_s: u64,
    /// How long a worker may take to look at its pool before it counts as hung and is replaced. Lower finds a dead file
    /// system sooner, higher bears slower ones.
    pub scan_limit_s: u64,
    /// How long a worker may take for one call, within its caller's own deadline.
    pub call_limit_s: u64,
    /// The pause before a failed pool is looked at again; it doubles up to the scan interval.
    pub retry_pause_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { scan_interval_s: 30, scan_limit_s: 10, call_limit_s: 25, retry_pause_s: 2 }
    }
}

impl Config {
    pub(crate) const fn scan_interval(&self) -> Duration {
        Duration::from_secs(self.scan_interval_s)
    }

    pub(crate) const fn scan_limit(&self) -> Duration {
        Duration::from_secs(self.scan_limit_s)
    }

    pub(crate) const fn call_limit(&self) -> Duration {
        Duration::from_secs(self.call_limit_s)
    }

    pub(crate) const fn retry_pause(&self) -> Duration {
        Duration::from_secs(self.retry_pause_s)
    }
}
