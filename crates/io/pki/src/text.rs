//! Bytes as text, and bytes that nobody can guess.

use crate::PkiError;

/// Two hexadecimal digits a byte, in lower case: how certificates and requests travel in calls.
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes of such a text; none for any other.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

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
    fn hexadecimal_digits_are_read_back_and_nothing_else_is() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for other in ["0", "0g", "+1", " 0", "ä0"] {
            assert_eq!(from_hex(other), None, "{other:?}");
        }
    }

    #[test]
    fn no_two_secrets_are_the_same() {
        assert_ne!(random::<32>().expect("random"), random::<32>().expect("random"));
    }
}
