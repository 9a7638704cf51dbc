//! What can be configured, in `api.toml`.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::Deserialize;

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where HTTP is answered, as `IP:PORT`: a loopback address, because keys travel as they are. Port 0: one that is free.
    pub listen: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9933)) }
    }
}

impl Config {
    /// Says which value is out of its range.
    ///
    /// # Errors
    /// For an address that is not of this host alone.
    pub fn check(&self) -> Result<(), String> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        Err(format!("listen: {} is no loopback address; HTTP without TLS is for this host alone", self.listen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_taken() {
        assert_eq!(Config::default().check(), Ok(()));
        for (address, is_taken) in [
            ("127.0.0.2:80", true),
            ("[::1]:0", true),
            ("0.0.0.0:9933", false),
            ("[::]:9933", false),
            ("10.0.0.1:1", false),
        ] {
            let config = Config { listen: address.parse().expect("an address") };
            assert_eq!(config.check().is_ok(), is_taken, "{address}");
        }
    }
}
