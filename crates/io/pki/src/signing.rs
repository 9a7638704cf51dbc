//! Keys that vouch for positions of the log: Ed25519, one a controller.

use std::{fmt, path::Path};

use acp_base::{from_hex, to_hex};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use rustls::SignatureScheme;

use crate::{PkiError, files};

/// A controller's own key. It never leaves its node; its public half is in the log.
pub struct CheckpointKey(KeyPair);

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CheckpointKey").field(&self.public()).finish()
    }
}

impl CheckpointKey {
    /// The key kept in this file; a new one if there is none yet.
    pub fn ensure(path: &Path) -> Result<Self, PkiError> {
        if let Some(text) = files::read_secret(path)? {
            let damaged = |_no_key| PkiError::Damaged { path: path.to_owned() };
            let pair = KeyPair::from_pem(&text).map_err(damaged)?;
            let is_ours = pair.is_compatible(&PKCS_ED25519);
            return if is_ours { Ok(Self(pair)) } else { Err(PkiError::Damaged { path: path.to_owned() }) };
        }
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(PkiError::crypto)?;
        files::write_secret(path, &pair.serialize_pem())?;
        Ok(Self(pair))
    }

    /// The public half in hexadecimal digits.
    pub fn public(&self) -> String {
        to_hex(self.0.der_bytes())
    }

    /// The signature of a message in hexadecimal digits.
    pub fn sign(&self, message: &[u8]) -> Result<String, PkiError> {
        self.0.sign(message).map(|signature| to_hex(&signature)).map_err(PkiError::crypto)
    }
}

/// Whether the signature of the message was made with the private half of this key; both in hexadecimal digits.
pub fn is_signed_by(public: &str, message: &[u8], signature: &str) -> bool {
    let (Some(public), Some(signature)) = (from_hex(public), from_hex(signature)) else { return false };
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let algorithms = algorithms.mapping.iter().find(|(scheme, _)| *scheme == SignatureScheme::ED25519);
    let Some([algorithm, ..]) = algorithms.map(|(_, algorithms)| *algorithms) else { return false };
    algorithm.verify_signature(&public, message, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_holder_of_the_key_signs_and_only_what_was_signed_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("checkpoint.key");
        let key = CheckpointKey::ensure(&path).expect("a new key");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let again = CheckpointKey::ensure(&path).expect("the same key");
        assert_eq!((again.public(), again.public().len()), (key.public(), 64));
        let signature = key.sign(b"here").expect("signed");
        assert!(is_signed_by(&key.public(), b"here", &signature));
        assert!(!is_signed_by(&key.public(), b"there", &signature));
        let other = CheckpointKey::ensure(&directory.path().join("other.key")).expect("another key");
        assert!(!is_signed_by(&other.public(), b"here", &signature));
        for bad in ["", "zz", &signature[2..]] {
            assert!(!is_signed_by(&key.public(), b"here", bad), "{bad:?}");
        }
    }

    #[test]
    fn another_kind_of_key_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("checkpoint.key");
        crate::NodeKey::ensure(&path).expect("a key of another kind");
        assert!(matches!(CheckpointKey::ensure(&path), Err(PkiError::Damaged { .. })));
    }
}
