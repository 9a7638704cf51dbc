//! A node's private key.

use std::{fmt, path::Path};

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::pki_types::{CertificateSigningRequestDer, PrivateKeyDer};

use crate::{Fingerprint, PkiError, files};

/// An ECDSA P-256 key. It never leaves its node.
pub struct NodeKey(pub(crate) KeyPair);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeKey").field(&self.fingerprint()).finish()
    }
}

impl NodeKey {
    /// A new one.
    pub fn generate() -> Result<Self, PkiError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(PkiError::crypto)
    }

    /// The key kept in this file; none if there is no file.
    pub fn open(path: &Path) -> Result<Option<Self>, PkiError> {
        let Some(text) = files::read_secret(path)? else { return Ok(None) };
        let damaged = |_no_key| PkiError::Damaged { path: path.to_owned() };
        KeyPair::from_pem(&text).map(|pair| Some(Self(pair))).map_err(damaged)
    }

    /// The key kept in this file; a new one if there is none yet.
    pub fn ensure(path: &Path) -> Result<Self, PkiError> {
        if let Some(key) = Self::open(path)? {
            return Ok(key);
        }
        let key = Self::generate()?;
        files::write_secret(path, &key.0.serialize_pem())?;
        Ok(key)
    }

    /// The key in this text, PEM; none for any other.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        KeyPair::from_pem(text).ok().map(Self)
    }

    /// What the node stays known by over renewals.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0.subject_public_key_info())
    }

    /// A request to sign this key's public half. It proves possession and asks for no name: the signer decides that.
    pub fn request(&self) -> Result<Request, PkiError> {
        let request = CertificateParams::default().serialize_request(&self.0).map_err(PkiError::crypto)?;
        Request::read(request.der().to_vec())
    }

    pub(crate) fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.0.serialize_der().into())
    }
}

/// A signing request whose signature was verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    der: Vec<u8>,
    key: Fingerprint,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Request").field(&self.key).finish()
    }
}

/// The longest request read: one of ours has about 300 bytes.
const REQUEST_BYTES_MAX: usize = 4_096;

impl Request {
    /// Reads a PKCS #10 request in DER.
    pub fn read(der: Vec<u8>) -> Result<Self, PkiError> {
        let key = Fingerprint::of(&parse(&der)?.public_key.subject_public_key_info());
        Ok(Self { der, key })
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The fingerprint of the key that is to be signed.
    pub const fn key(&self) -> Fingerprint {
        self.key
    }

    pub(crate) fn params(&self) -> Result<CertificateSigningRequestParams, PkiError> {
        parse(&self.der)
    }
}

fn parse(der: &[u8]) -> Result<CertificateSigningRequestParams, PkiError> {
    if der.len() > REQUEST_BYTES_MAX {
        return Err(PkiError::BadRequest);
    }
    let parsed = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der));
    parsed.ok().filter(|request| *request.public_key.algorithm() == PKCS_ECDSA_P256_SHA256).ok_or(PkiError::BadRequest)
}
