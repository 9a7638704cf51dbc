//! The key that the nodes of a cluster share, and the key of one process that follows from it.

use std::{fmt, sync::Arc};

use acp_base::Uid;
use aws_lc_rs::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    constant_time::verify_slices_are_equal,
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a group key's secret.
pub const SECRET_BYTES: usize = 32;

/// What the subkey is for (RFC 5869, 3.2), so that the same secret never means the same key elsewhere.
const PURPOSE: &[u8] = b"acp datagram 1";

/// There is no randomness, or the provider of cryptography refuses what it should not. The host's fault.
#[derive(Debug, thiserror::Error)]
#[error("the provider of cryptography does not work")]
pub struct CryptoError;

impl From<Unspecified> for CryptoError {
    fn from(_says_nothing: Unspecified) -> Self {
        Self
    }
}

/// A numbered secret of all nodes of a cluster. Copies share it; it is overwritten when the last one is dropped.
#[derive(Clone)]
pub struct GroupKey(Arc<Inner>);

struct Inner {
    number: u32,
    secret: [u8; SECRET_BYTES],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl GroupKey {
    /// The key of this number; `secret` is overwritten, so that the caller has no copy by accident.
    pub fn new(number: u32, secret: &mut [u8; SECRET_BYTES]) -> Self {
        let key = Self(Arc::new(Inner { number, secret: *secret }));
        secret.zeroize();
        key
    }

    /// A new key of this number.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate(number: u32) -> Result<Self, CryptoError> {
        let mut secret = [0; SECRET_BYTES];
        rand::fill(&mut secret)?;
        Ok(Self::new(number, &mut secret))
    }

    /// Which rotation it belongs to: it only grows.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// The secret, to be given to members over mutual TLS and to nobody else.
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0.secret
    }

    /// Whether both have the same secret, told in constant time.
    pub fn has_secret_of(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0.secret, &other.0.secret).is_ok()
    }

    /// The key under which one process of a node seals: HKDF-SHA256 of the secret, salted with whose key it is.
    pub(crate) fn subkey(&self, of: &Process) -> Result<LessSafeKey, CryptoError> {
        let mut okm = Zeroizing::new([0; SECRET_BYTES]);
        let whose = of.to_bytes();
        let prk = Salt::new(HKDF_SHA256, &whose).extract(&self.0.secret);
        prk.expand(&[PURPOSE], HKDF_SHA256)?.fill(okm.as_mut())?;
        Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, okm.as_ref())?))
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupKey").field("number", &self.0.number).finish_non_exhaustive()
    }
}

/// Which life of a node sealed something: its incarnation in front, a random number behind it. Of two lives of a node, the
/// later one is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life(u128);

impl Life {
    /// A new one. The random half tells lives apart to which the same incarnation was given: a node that was copied.
    pub(crate) fn begin(incarnation: u64) -> Result<Self, CryptoError> {
        let mut random = [0; 8];
        rand::fill(&mut random)?;
        Ok(Self::of(incarnation, u64::from_be_bytes(random)))
    }

    pub(crate) const fn of(incarnation: u64, random: u64) -> Self {
        Self((incarnation as u128) << 64 | random as u128)
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    pub(crate) const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// Who seals: one life of one node of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) cluster: Uid,
    pub(crate) node: Uid,
    pub(crate) life: Life,
}

impl Process {
    /// Each part has its fixed width, so that no two processes have the same bytes.
    fn to_bytes(self) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(&self.life.to_bytes());
        bytes[16..32].copy_from_slice(&self.cluster.as_u128().to_be_bytes());
        bytes[32..].copy_from_slice(&self.node.as_u128().to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_shows_its_secret_and_takes_the_callers_copy() {
        let mut secret = [0xa5; SECRET_BYTES];
        let key = GroupKey::new(7, &mut secret);
        assert_eq!(secret, [0; SECRET_BYTES]);
        assert_eq!(key.expose(), &[0xa5; SECRET_BYTES]);
        assert_eq!(format!("{key:?}"), "GroupKey { number: 7, .. }");
    }

    #[test]
    fn a_later_life_is_greater_whatever_was_drawn() {
        assert!(Life::of(8, 0) > Life::of(7, u64::MAX));
        assert_eq!(Life::from_bytes(Life::of(3, 4).to_bytes()), Life::of(3, 4));
        assert_ne!(Life::begin(5).expect("random"), Life::begin(5).expect("random"));
    }
}
