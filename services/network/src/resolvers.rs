//! The name servers that guests are told.

use std::net::Ipv4Addr;

use crate::config::{Config, NAME_SERVERS_MAX};

/// Where the node's own name servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Those of the configuration, else the node's own as far as guests can reach them.
pub(crate) fn name_servers(config: &Config) -> Vec<Ipv4Addr> {
    match &config.name_servers {
        Some(servers) => servers.clone(),
        None => reachable(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()),
    }
}

/// The IPv4 name servers of a resolv.conf(5), without the loopback addresses of a local resolver.
fn reachable(text: &str) -> Vec<Ipv4Addr> {
    let addresses = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<Ipv4Addr>().ok());
    addresses.filter(|address| !address.is_loopback() && !address.is_unspecified()).take(NAME_SERVERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_that_guests_can_reach() {
        let text = "# comment\nsearch lan\nnameserver 127.0.0.53\nnameserver\t9.9.9.9\nnameserver fe80::1\nnameserver 1.1.1.1\n";
        assert_eq!(reachable(text), [Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(1, 1, 1, 1)]);
        assert_eq!(reachable(&"nameserver 10.0.0.1\n".repeat(9)).len(), NAME_SERVERS_MAX);
        assert!(reachable("").is_empty());
    }
}
