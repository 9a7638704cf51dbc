//! Addresses of nodes as people write them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// Where a node is dialled: `IP` or `IP:PORT`, with brackets around an IPv6 address that has a port. A name is refused: which
/// node it would lead to is not ACP's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress(String);

impl FromStr for NodeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_socket = text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
        if is_socket || text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{text:?} is no address: write an IP address, with a port if it is not 9932, like 10.0.0.1:9932"))
    }
}

impl NodeAddress {
    /// As `IP:PORT`, with this port if none was written.
    pub fn with_port(&self, port: u16) -> String {
        self.0.parse::<IpAddr>().map_or_else(|_has_one| self.0.clone(), |ip| SocketAddr::new(ip, port).to_string())
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<NodeAddress> for String {
    fn from(address: NodeAddress) -> Self {
        address.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_added_where_there_is_none() {
        let with = |text: &str| text.parse::<NodeAddress>().expect(text).with_port(9932);
        assert_eq!((with("10.0.0.1"), with("10.0.0.1:1")), ("10.0.0.1:9932".to_owned(), "10.0.0.1:1".to_owned()));
        assert_eq!((with("::1"), with("[::1]:1")), ("[::1]:9932".to_owned(), "[::1]:1".to_owned()));
    }

    #[test]
    fn addresses_are_taken_as_written_and_nothing_else() {
        for good in ["10.0.0.1", "10.0.0.1:9932", "::1", "fe80::1", "[::1]:9932"] {
            assert_eq!(good.parse::<NodeAddress>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", "n1", "n1:9932", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:99999", "10.0.0", "[::1]", "10.0.0.1/24"]
        {
            assert!(bad.parse::<NodeAddress>().is_err(), "{bad}");
        }
    }
}
