//! Hardware addresses of virtual interfaces.

use std::{fmt, str::FromStr};

use acp_base::Uid;

use crate::hash::Hash;

/// A unicast hardware address of 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(u64);

/// Why a text is no [`Mac`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six pairs of hexadecimal digits.
    #[error("{0:?} is no hardware address: write six pairs of hexadecimal digits, like 52:54:00:12:34:56")]
    Malformed(String),
    /// A group address or all zeros.
    #[error("{0:?} cannot be the address of an interface: it is a group address or zero")]
    NotUnicast(String),
}

/// What allocated addresses begin with: locally administered, and by long custom that of QEMU's guests.
const PREFIX: u64 = 0x5254_0000_0000;

/// The bits below the prefix.
const SPACE: u64 = 1 << 24;

impl Mac {
    /// The first free address at or after the one that the identities give. Every replica finds the same; two clusters on
    /// one segment begin at different places, and a deleted system's address does not come back at once.
    pub(crate) fn allocate(cluster: Uid, system: Uid, nic: usize, is_free: impl Fn(Self) -> bool) -> Option<Self> {
        let seed = format!("{}/{}/{nic}", cluster.simple(), system.simple());
        let [a, b, c, ..] = Hash::ZERO.link(seed.as_bytes()).bytes();
        let start = u64::from(u32::from_be_bytes([0, a, b, c]));
        (0..SPACE).map(|step| Self(PREFIX | ((start + step) % SPACE))).find(|mac| is_free(*mac))
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let malformed = || MacError::Malformed(text.to_owned());
        let pairs: Vec<&str> = text.split(':').collect();
        if pairs.len() != 6 || !pairs.iter().all(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(malformed());
        }
        let bits = u64::from_str_radix(&pairs.concat(), 16).map_err(|_unreachable_by_the_check| malformed())?;
        if bits == 0 || (bits >> 40) & 1 == 1 {
            return Err(MacError::NotUnicast(text.to_owned()));
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, a, b, c, d, e, g] = self.0.to_be_bytes();
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints_and_refuses_the_rest() {
        assert_eq!("52:54:00:AB:cd:01".parse::<Mac>().map(|mac| mac.to_string()), Ok("52:54:00:ab:cd:01".into()));
        for bad in ["", "52:54:00:ab:cd", "52:54:00:ab:cd:0g", "5254:00:ab:cd:01:1", "+2:54:00:ab:cd:01"] {
            assert_eq!(bad.parse::<Mac>(), Err(MacError::Malformed(bad.into())));
        }
        for group in ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"] {
            assert_eq!(group.parse::<Mac>(), Err(MacError::NotUnicast(group.into())));
        }
    }

    #[test]
    fn allocation_is_deterministic_and_goes_on_to_the_next_free() {
        let (cluster, system) = (Uid::from_u128(1), Uid::from_u128(2));
        let first = Mac::allocate(cluster, system, 0, |_| true).expect("free");
        assert_eq!(Mac::allocate(cluster, system, 0, |_| true), Some(first));
        let next = Mac::allocate(cluster, system, 0, |mac| mac != first).expect("free");
        assert_eq!(next.0 % SPACE, (first.0 + 1) % SPACE);
        assert_ne!(Mac::allocate(cluster, system, 1, |_| true), Some(first));
        assert_eq!(Mac::allocate(cluster, system, 0, |_| false), None);
        assert!(first.to_string().starts_with("52:54:00:"));
    }
}
