//! What can be configured, in `hub.toml`.

use std::time::Duration;

use acp_core_membership::limits::CERTIFICATE_LIFETIME_MAX_MS;
use schemars::JsonSchema;
use serde::Deserialize;

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a node's certificate counts, in seconds, 10 to 604,800. Shorter ends sooner what somebody can do with a stolen
    /// one, longer lets a node stay away for longer without having to renew an expired one.
    pub certificate_lifetime_s: u64,
    /// Whether nodes may ask for membership without a token; an operator answers each. Without it nobody can fill the list of
    /// those that wait, and each newcomer needs a token.
    pub requests: bool,
}

/// From what a busy node can renew at half of, up to how long a removed node stays listed.
const CERTIFICATE_LIFETIME_S: std::ops::RangeInclusive<u64> = 10..=CERTIFICATE_LIFETIME_MAX_MS / 1_000;

impl Default for Config {
    fn default() -> Self {
        Self { certificate_lifetime_s: 48 * 3_600, requests: true }
    }
}

impl Config {
    /// How long a node's certificate counts.
    pub fn certificate_lifetime(&self) -> Duration {
        Duration::from_secs(self.certificate_lifetime_s)
    }

    /// Says which value is out of its range.
    pub fn check(&self) -> Result<(), String> {
        if CERTIFICATE_LIFETIME_S.contains(&self.certificate_lifetime_s) {
            return Ok(());
        }
        let given = self.certificate_lifetime_s;
        Err(format!("certificate_lifetime_s: {given} is not within {CERTIFICATE_LIFETIME_S:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        for given in [0, 9, 604_801, u64::MAX] {
            let said =
                Config { certificate_lifetime_s: given, ..Config::default() }.check().expect_err("it is out of range");
            assert!(said.starts_with(&format!("certificate_lifetime_s: {given} is not within")), "{said}");
        }
        assert!(toml::from_str::<Config>("certificate_lifetime = 60").is_err(), "an unknown key is refused");
    }
}
