//! The certificate that this node shows, replaced while connections are open.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{Certificate, NodeKey, PkiError};

/// What the node shows of itself. Clones share it: after [`Held::replace`] every new handshake of either direction shows the
/// new certificate, and open connections go on.
#[derive(Clone, Debug)]
pub struct Held(Arc<Resolver>);

#[derive(Debug)]
struct Resolver(ArcSwap<(CertifiedKey, Certificate)>);

impl Held {
    /// Shows this certificate of this key, with the authority's behind it, so that a newcomer can check a token against it.
    pub fn new(key: &NodeKey, certificate: Certificate, authority: &CertificateDer<'static>) -> Result<Self, PkiError> {
        let held = pair(key, certificate, authority)?;
        Ok(Self(Arc::new(Resolver(ArcSwap::from_pointee(held)))))
    }

    /// Shows this one from now on.
    pub fn replace(
        &self,
        key: &NodeKey,
        certificate: Certificate,
        authority: &CertificateDer<'static>,
    ) -> Result<(), PkiError> {
        self.0.0.store(Arc::new(pair(key, certificate, authority)?));
        Ok(())
    }

    /// The certificate shown now.
    pub fn certificate(&self) -> Certificate {
        self.0.0.load().1.clone()
    }

    pub(crate) fn for_servers(&self) -> Arc<dyn ResolvesServerCert> {
        self.0.clone()
    }

    pub(crate) fn for_clients(&self) -> Arc<dyn ResolvesClientCert> {
        self.0.clone()
    }
}

fn pair(
    key: &NodeKey,
    certificate: Certificate,
    authority: &CertificateDer<'static>,
) -> Result<(CertifiedKey, Certificate), PkiError> {
    if certificate.key != key.fingerprint() {
        return Err(PkiError::BadCertificate);
    }
    let signing = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key.private()).map_err(PkiError::crypto)?;
    let chain = vec![certificate.der.clone(), authority.clone()];
    Ok((CertifiedKey::new(chain, signing), certificate))
}

impl Resolver {
    fn shown(&self) -> Arc<CertifiedKey> {
        Arc::new(self.0.load().0.clone())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
