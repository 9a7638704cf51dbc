//! What an operator may set: `agent.toml`.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

/// The port at which agents are dialled unless something else was said.
pub(crate) const PORT_DEFAULT: u16 = 9932;

/// The configuration of the agent.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where other nodes reach this one, as `IP:PORT`. It is open only while the node is in a cluster. `[::]` is every
    /// address of the host, of either family.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// At which address the others dial this one, as `IP` or `IP:PORT`, if it is not the one that was given when it became a
    /// member: they are told when the control plane is heard next.
    pub address: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0; 16], PORT_DEFAULT)), address: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_and_absent_ones_have_their_default() {
        let config: Config = toml::from_str("listen = \"10.0.0.1:1\"").expect("valid");
        assert_eq!(config, Config { listen: ([10, 0, 0, 1], 1).into(), address: None });
        assert_eq!(toml::from_str::<Config>("").expect("valid").listen.to_string(), "[::]:9932");
        assert!(toml::from_str::<Config>("port = 9932").is_err());
        assert!(toml::from_str::<Config>("listen = \"10.0.0.1\"").is_err());
    }
}
