//! The chain that ties each entry to everything before it.

use std::fmt;

use sha2::{Digest, Sha256};

/// A link of the hash chain: SHA-256 of the previous link and the entry's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Before the first entry.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// The link after this one: for the entry with these bytes.
    #[must_use]
    pub fn link(self, entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(entry).finalize().into())
    }
}

impl fmt::Display for Hash {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_depends_on_everything_before_it() {
        let ab = Hash::ZERO.link(b"a").link(b"b");
        assert_ne!(ab, Hash::ZERO.link(b"b").link(b"a"));
        assert_eq!(ab, Hash::ZERO.link(b"a").link(b"b"));
        assert_eq!(
            Hash::ZERO.link(b"").to_string(),
            "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
        );
    }
}
