//! Bytes that nobody can guess.

use crate::PkiError;

/// Random bytes for secrets and serial numbers.
pub fn random<const BYTES: usize>() -> Result<[u8; BYTES], PkiError> {
    let mut bytes = [0; BYTES];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let filled = provider.secure_random.fill(&mut bytes);
    filled.map_err(|_no_randomness| PkiError::crypto(std::io::Error::other("no randomness")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_secrets_are_the_same() {
        assert_ne!(random::<32>().expect("random"), random::<32>().expect("random"));
    }
}
