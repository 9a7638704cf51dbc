//! What can be configured of every vmm, in `vmm.toml`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much of a console's newest output is kept in memory, in bytes, 4 KiB to 16 MiB. More scrollback for whoever
    /// attaches costs as much memory for each system whose guest talks that much.
    pub console_ring_bytes: u32,
    /// How large a console's log may grow before it is trimmed, in bytes, at least 64 KiB. On disk it takes twice that,
    /// since the part before is kept.
    pub console_log_bytes_max: u64,
    /// How long QEMU may take to answer a command, in milliseconds, at least 100. It answers in microseconds unless its main
    /// loop hangs, mostly on a slow disk.
    pub qmp_timeout_ms: u64,
}

const RING_BYTES: std::ops::RangeInclusive<u32> = 4 << 10..=16 << 20;
const LOG_BYTES_MIN: u64 = 64 << 10;
const QMP_TIMEOUT_MS_MIN: u64 = 100;

impl Default for Config {
    fn default() -> Self {
        Self { console_ring_bytes: 256 << 10, console_log_bytes_max: 8 << 20, qmp_timeout_ms: 10_000 }
    }
}

impl Config {
    /// How long QEMU may take to answer a command.
    pub fn qmp_timeout(&self) -> Duration {
        Duration::from_millis(self.qmp_timeout_ms)
    }

    /// Says which value is out of its range.
    pub fn check(&self) -> Result<(), String> {
        if !RING_BYTES.contains(&self.console_ring_bytes) {
            return Err(format!("console_ring_bytes: {} is not within {RING_BYTES:?}", self.console_ring_bytes));
        }
        if self.console_log_bytes_max < LOG_BYTES_MIN {
            return Err(format!("console_log_bytes_max: {} is below {LOG_BYTES_MIN}", self.console_log_bytes_max));
        }
        if self.qmp_timeout_ms < QMP_TIMEOUT_MS_MIN {
            return Err(format!("qmp_timeout_ms: {} is below {QMP_TIMEOUT_MS_MIN}", self.qmp_timeout_ms));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let refused = |config: Config| config.check().expect_err("out of range");
        assert!(refused(Config { console_ring_bytes: 1, ..Config::default() }).starts_with("console_ring_bytes: 1 "));
        assert!(
            refused(Config { console_log_bytes_max: 0, ..Config::default() }).starts_with("console_log_bytes_max: ")
        );
        assert!(refused(Config { qmp_timeout_ms: 0, ..Config::default() }).starts_with("qmp_timeout_ms: "));
    }
}
