//! A certificate as we read it.

use std::{fmt, time::Duration};

use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{LEEWAY, NodeIdentity, PkiError};

/// The SHA-256 of something public: a certificate or a public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The certificate of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// As it goes over the wire.
    pub der: CertificateDer<'static>,
    /// Whose it is.
    pub identity: NodeIdentity,
    /// The fingerprint of its public key, by which a key stays known over renewals.
    pub key: Fingerprint,
    /// From when it counts.
    pub not_before: UnixTime,
    /// Until when it counts.
    pub not_after: UnixTime,
}

impl Certificate {
    /// Reads a certificate; who signed it is not looked at.
    pub fn read(der: CertificateDer<'static>) -> Result<Self, PkiError> {
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_parser| PkiError::BadCertificate)?;
        if !rest.is_empty() {
            return Err(PkiError::BadCertificate);
        }
        let identity = identity(&parsed)?;
        let key = Fingerprint::of(parsed.public_key().raw);
        let validity = parsed.validity();
        let (not_before, not_after) = (instant(validity.not_before)?, instant(validity.not_after)?);
        Ok(Self { der, identity, key, not_before, not_after })
    }

    /// When it ought to be renewed: at half of its life, which began when it was signed.
    pub fn renew_at(&self) -> UnixTime {
        let to = self.not_after.as_secs();
        let signed = self.not_before.as_secs().saturating_add(LEEWAY.as_secs()).min(to);
        UnixTime::since_unix_epoch(Duration::from_secs(signed + (to - signed) / 2))
    }

    /// Whether it counts at this moment.
    pub fn counts_at(&self, now: UnixTime) -> bool {
        (self.not_before..self.not_after).contains(&now)
    }

    /// Whether a new one ought to be asked for: half of its life is over, or it begins later, because a clock was wrong when it
    /// was signed or is now.
    pub fn is_due(&self, now: UnixTime) -> bool {
        now < self.not_before || now >= self.renew_at()
    }
}

/// The one URI among the alternative names; a second name of any kind is a certificate that we did not sign so.
fn identity(parsed: &X509Certificate<'_>) -> Result<NodeIdentity, PkiError> {
    let names = parsed.subject_alternative_name().map_err(|_twice| PkiError::BadCertificate)?;
    match names.map(|names| names.value.general_names.as_slice()) {
        Some([GeneralName::URI(uri)]) => uri.parse(),
        _ => Err(PkiError::BadCertificate),
    }
}

fn instant(time: x509_parser::time::ASN1Time) -> Result<UnixTime, PkiError> {
    let seconds = u64::try_from(time.timestamp()).map_err(|_before_1970| PkiError::BadCertificate)?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}
