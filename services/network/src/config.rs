//! What can be configured, in `network.toml`.

use std::{net::Ipv4Addr, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The program that sets packet filters: a name that is looked for in the distribution's directories, or a path.
    pub nft: String,
    /// How long until links, packet filter and DHCP units are looked at again although nothing was heard of a change, and
    /// how often statistics are published; in milliseconds, 500 to 60,000. Shorter finds a deleted nftables table sooner,
    /// longer wakes the node less often.
    pub reconcile_interval_ms: u64,
    /// IPv4 addresses of the name servers that guests of networks with NAT are told, at most 3. Absent: those of the node's
    /// `/etc/resolv.conf` that guests can reach, as they are when the daemon starts.
    pub name_servers: Option<Vec<Ipv4Addr>>,
}

const RECONCILE_INTERVAL_MS: std::ops::RangeInclusive<u64> = 500..=60_000;

/// Name servers a guest is told: what resolvers take.
pub(crate) const NAME_SERVERS_MAX: usize = 3;

impl Default for Config {
    fn default() -> Self {
        Self { nft: "nft".to_owned(), reconcile_interval_ms: 5_000, name_servers: None }
    }
}

impl Config {
    /// How long until everything is looked at again.
    pub fn reconcile_interval(&self) -> Duration {
        Duration::from_millis(self.reconcile_interval_ms)
    }

    /// Says which value is out of its range.
    pub fn check(&self) -> Result<(), String> {
        if self.nft.is_empty() {
            return Err("nft: name the program".to_owned());
        }
        if !RECONCILE_INTERVAL_MS.contains(&self.reconcile_interval_ms) {
            return Err(format!(
                "reconcile_interval_ms: {} is not within {RECONCILE_INTERVAL_MS:?}",
                self.reconcile_interval_ms
            ));
        }
        match self.name_servers.as_ref().map(Vec::len) {
            Some(count) if count > NAME_SERVERS_MAX => {
                Err(format!("name_servers: {count} are more than {NAME_SERVERS_MAX}, what resolvers take"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let refusal = |config: Config| config.check().expect_err("it is out of range");
        assert!(refusal(Config { nft: String::new(), ..Config::default() }).starts_with("nft"));
        assert!(
            refusal(Config { reconcile_interval_ms: 10, ..Config::default() }).starts_with("reconcile_interval_ms: 10")
        );
        let servers = Some(vec![Ipv4Addr::LOCALHOST; 4]);
        assert!(refusal(Config { name_servers: servers, ..Config::default() }).starts_with("name_servers: 4"));
    }
}
