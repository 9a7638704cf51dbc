//! Capabilities by name.

use std::{fmt, str::FromStr};

use rustix::thread::CapabilitySet;

/// One capability of `capabilities(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(CapabilitySet);

/// The text names no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no capability; one is written like CAP_NET_ADMIN")]
pub struct UnknownCapability(String);

/// The highest number a capability can have: the kernel keeps them in 64 bits.
const NUMBER_MAX: u32 = 63;

impl Capability {
    /// The capability as a set of one.
    pub fn as_set(self) -> CapabilitySet {
        self.0
    }

    /// Every number the kernel could know, as sets of one, in order.
    pub fn numbers() -> impl Iterator<Item = CapabilitySet> {
        (0..=NUMBER_MAX).map(|number| CapabilitySet::from_bits_retain(1 << number))
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        let name = text.strip_prefix("CAP_").ok_or_else(|| UnknownCapability(text.to_owned()))?;
        let mut known = CapabilitySet::all().iter_names();
        known
            .find(|(known, _)| *known == name)
            .map(|(_, set)| Self(set))
            .ok_or_else(|| UnknownCapability(text.to_owned()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.iter_names().next().map_or("?", |(name, _)| name);
        write!(f, "CAP_{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_manual() {
        for name in ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN", "CAP_CHOWN"] {
            assert_eq!(name.parse::<Capability>().expect(name).to_string(), name);
        }
        assert_eq!("CAP_NET_ADMIN".parse::<Capability>().expect("known").as_set().bits(), 1 << 12);
        assert!("NET_ADMIN".parse::<Capability>().is_err());
        assert!("CAP_FLY".parse::<Capability>().is_err());
    }
}
