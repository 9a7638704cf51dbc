//! What can be set.

use std::time::Duration;

use acp_base::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;

/// `hypervisor.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Memory in bytes that is kept for the host itself: a start that would leave less is refused. More protects the host
    /// from its guests, less lets one more guest in. Default 256 MiB.
    pub host_reserve_bytes: u64,
    /// What QEMU runs on: `probe` boots a small program under KVM once per boot of the host and takes TCG if that fails;
    /// `kvm` and `tcg` are taken as they are. Default `probe`.
    pub accelerator: AcceleratorChoice,
    /// How long the boot probe may take, in milliseconds. A working KVM needs a tenth; on a crowded host with nested
    /// virtualisation more avoids a wrong verdict. Default 3,000.
    pub probe_timeout_ms: u64,
    /// How often measurements are taken and published, in milliseconds, at least 500. Default 5,000.
    pub stats_interval_ms: u64,
    /// The QEMU that is probed. It must be the one in the framework's template. Default `qemu-system-x86_64`.
    pub qemu: String,
}

/// See [`Config::accelerator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceleratorChoice {
    /// What a boot proves.
    Probe,
    /// KVM without a proof.
    Kvm,
    /// TCG without a proof.
    Tcg,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host_reserve_bytes: ByteSize::mib(256).0,
            accelerator: AcceleratorChoice::Probe,
            probe_timeout_ms: 3_000,
            stats_interval_ms: 5_000,
            qemu: "qemu-system-x86_64".to_owned(),
        }
    }
}

/// The shortest interval of measurements: below, measuring is what is measured.
const STATS_INTERVAL_MS_MIN: u64 = 500;

impl Config {
    /// Says which value is out of its range.
    pub fn check(&self) -> Result<(), String> {
        if self.stats_interval_ms < STATS_INTERVAL_MS_MIN {
            let given = self.stats_interval_ms;
            return Err(format!("stats_interval_ms: {given} is below {STATS_INTERVAL_MS_MIN}"));
        }
        if self.probe_timeout_ms == 0 {
            return Err(
                "probe_timeout_ms: 0 leaves no time to boot; set accelerator = \"tcg\" to do without KVM".to_owned()
            );
        }
        Ok(())
    }

    /// How often measurements are taken.
    pub const fn stats_interval(&self) -> Duration {
        Duration::from_millis(self.stats_interval_ms)
    }

    /// How long the boot probe may take.
    pub const fn probe_timeout(&self) -> Duration {
        Duration::from_millis(self.probe_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let refused = |config: Config| config.check().expect_err("out of range");
        assert!(refused(Config { stats_interval_ms: 1, ..Config::default() }).starts_with("stats_interval_ms: 1 "));
        assert!(refused(Config { probe_timeout_ms: 0, ..Config::default() }).starts_with("probe_timeout_ms: 0 "));
    }
}
