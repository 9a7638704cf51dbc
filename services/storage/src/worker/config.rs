//! Every knob of a worker.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `storage-worker.toml`, the same for every pool of the node. Sizes are in bytes, times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// Space of a pool that is never given to new files, so that running systems, whose thin disks grow, do not meet a full
    /// file system first. More of it is safer, less of it holds more images.
    pub reserve_bytes: u64,
    /// The largest file that is imported.
    pub image_bytes_max: u64,
    /// How long a copy of a volume may take before it is given up: a bound for hangs, not an estimate.
    pub copy_limit_s: u64,
    /// How long the check of an imported qcow2 image may take.
    pub check_limit_s: u64,
    /// How long a download may take as a whole.
    pub download_limit_s: u64,
    /// How long a source, download or descriptor, may give nothing before it is given up.
    pub stall_limit_s: u64,
    /// How long connecting to a download's server may take.
    pub connect_limit_s: u64,
    /// Redirects that a download follows.
    pub redirects_max: u32,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            reserve_bytes: 256 << 20,
            image_bytes_max: 1 << 40,
            copy_limit_s: 6 * 3600,
            check_limit_s: 600,
            download_limit_s: 6 * 3600,
            stall_limit_s: 60,
            connect_limit_s: 15,
            redirects_max: 5,
        }
    }
}

impl WorkerConfig {
    pub(super) const fn copy_limit(&self) -> Duration {
        Duration::from_secs(self.copy_limit_s)
    }

    pub(super) const fn check_limit(&self) -> Duration {
        Duration::from_secs(self.check_limit_s)
    }

    pub(super) const fn download_limit(&self) -> Duration {
        Duration::from_secs(self.download_limit_s)
    }

    pub(super) const fn stall_limit(&self) -> Duration {
        Duration::from_secs(self.stall_limit_s)
    }
}
