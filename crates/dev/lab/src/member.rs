//! The nodes of a lab by name and address.

use std::{fmt, net::Ipv4Addr, path::Path, str::FromStr};

use acp_dev_testkit::Layout;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// Nodes in a lab: more do not fit into the memory of the machines that labs run on.
pub(crate) const MEMBERS_MAX: u8 = 32;
/// Domains in a lab.
pub(crate) const DOMAINS_MAX: u8 = 8;

/// `n1`, `n2` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberName(u8);

impl MemberName {
    pub(crate) const fn number(number: u8) -> Self {
        Self(number)
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl FromStr for MemberName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.trim().strip_prefix('n').and_then(|digits| digits.parse().ok());
        match number {
            Some(number @ 1..=MEMBERS_MAX) => Ok(Self(number)),
            _ => bail!("{text:?} is no node of a lab; they are called n1, n2 ..."),
        }
    }
}

/// A node of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: MemberName,
    /// Its domain, counted from 1.
    pub domain: u8,
    /// Its places.
    pub layout: Layout,
}

impl Member {
    pub(crate) fn new(lab: &Path, bin: &Path, name: MemberName, domain: u8) -> Result<Self> {
        let layout = Layout::new(&lab.join(name.to_string()), bin).with_context(|| format!("node {name}"))?;
        Ok(Self { name, domain, layout })
    }

    /// Its address among the nodes: `10.200.<domain>.<number>`.
    pub const fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 200, self.domain, self.name.0)
    }
}

/// The fabric's own address in a domain, by which other domains are reached.
pub(crate) const fn gateway(domain: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 200, domain, 254)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!("n7".parse::<MemberName>().expect("a name").to_string(), "n7");
        for bad in ["7", "n0", "n33", "n", "node1", ""] {
            assert!(bad.parse::<MemberName>().is_err(), "{bad}");
        }
    }
}
