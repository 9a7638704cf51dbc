//! What a peer's certificate has to be.

use std::sync::Arc;

use acp_base::Uid;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::{Certificate, Fingerprint, Refusal, Trust, tls::server_name};

/// How signatures are verified, the same for every verifier here: rustls asks for it in two traits of the same methods.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(old_tls())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// What the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Everything: the certificate has to be good in every respect.
    Peers,
    /// Renewal alone: the certificate may have expired, or begin later because a clock was wrong when it was signed; who takes
    /// the request compares the key with the node's.
    Renewal,
}

/// Verifies nodes on either side of a connection.
#[derive(Debug)]
pub(crate) struct Nodes {
    trust: Trust,
    purpose: Purpose,
    chain: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Nodes {
    pub(crate) fn new(trust: Trust, purpose: Purpose, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let builder = WebPkiClientVerifier::builder_with_provider(trust.roots.clone(), provider.clone());
        let chain = builder.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { trust, purpose, chain, algorithms: provider.signature_verification_algorithms })
    }

    /// Whose certificate it is, provided that it is of this cluster and the node was not removed.
    fn member(&self, der: &CertificateDer<'_>) -> Result<Certificate, Error> {
        let read = Certificate::read(der.clone().into_owned()).map_err(|_no_node| Refusal::NoNode)?;
        let identity = read.identity;
        if identity.cluster != self.trust.cluster {
            return Err(Refusal::Cluster(identity.cluster).into());
        }
        if self.trust.is_revoked(identity.node) {
            return Err(Refusal::Revoked(identity.node).into());
        }
        Ok(read)
    }

    /// The time to verify against: for renewal, the moment closest to now at which the certificate counts.
    fn moment(&self, der: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
        match self.purpose {
            Purpose::Peers => now,
            Purpose::Renewal => Certificate::read(der.clone().into_owned())
                .map_or(now, |read| now.max(read.not_before).min(read.not_after)),
        }
    }
}

impl ClientCertVerifier for Nodes {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Whoever calls has one certificate and needs no hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // The authority signs nodes itself; nothing lies in between.
        let verified = self.chain.verify_client_cert(end_entity, &[], self.moment(end_entity, now))?;
        self.member(end_entity)?;
        Ok(verified)
    }

    signatures!();
}

impl ServerCertVerifier for Nodes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        chained(end_entity, &self.trust, now, &self.algorithms)?;
        let node = self.member(end_entity)?.identity.node;
        if *name != server_name(node) {
            return Err(Refusal::Node(node).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

fn chained(
    end_entity: &CertificateDer<'_>,
    trust: &Trust,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(end_entity)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, &trust.roots, &[], now, algorithms.all)
}

fn old_tls() -> Error {
    Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic)
}

/// Verifies a member for somebody who does not know the cluster yet, only the fingerprint of its authority from a token.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// Nothing: whichever authority is shown first, and told to whoever dials.
    authority: Option<Fingerprint>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Newcomer {
    pub(crate) fn new(authority: Option<Fingerprint>, provider: &CryptoProvider) -> Self {
        Self { authority, algorithms: provider.signature_verification_algorithms }
    }

    /// The cluster that a certificate of the right authority's names; the authority vouches for its own cluster only.
    fn trust(&self, shown: &[CertificateDer<'_>], cluster: Uid) -> Result<Trust, Error> {
        let authority = match self.authority {
            Some(known) => shown.iter().find(|certificate| Fingerprint::of(certificate) == known),
            None => shown.first(),
        };
        let authority = authority.ok_or(Refusal::Issuer)?.clone().into_owned();
        Trust::new(cluster, authority).map_err(|_no_authority| Refusal::Issuer.into())
    }
}

impl ServerCertVerifier for Newcomer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let member = Certificate::read(end_entity.clone().into_owned()).map_err(|_no_node| Refusal::NoNode)?;
        let trust = self.trust(intermediates, member.identity.cluster)?;
        chained(end_entity, &trust, now, &self.algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
