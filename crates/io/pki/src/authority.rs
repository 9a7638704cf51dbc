//! The cluster's certificate authority.

use std::{fmt, path::Path, time::Duration};

use acp_base::Uid;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject as _};

use crate::{Certificate, Fingerprint, NodeIdentity, NodeKey, PkiError, Request, files, random};

/// How long an authority lives. Replacing it concerns every node at once; ten years are what others use.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Certificates begin this long before they are made, so that a node whose clock is a little behind can use them at once.
pub const LEEWAY: Duration = Duration::from_secs(5 * 60);

/// The bits of a serial number: RFC 5280 4.1.2.2 allows 20 octets, 8 random ones are the usual minimum.
const SERIAL_BYTES: usize = 16;

/// Files in the authority's directory.
pub(crate) const KEY_FILE: &str = "authority.key";
pub(crate) const CERTIFICATE_FILE: &str = "authority.crt";

/// From when and how long a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The moment of signing; the certificate begins [`LEEWAY`] earlier.
    pub now: UnixTime,
    /// How long it counts from then on.
    pub life: Duration,
}

impl Validity {
    /// 48 hours, the life of a node's certificate: long enough to survive a weekend's half, renewed at half.
    pub const fn of_node(now: UnixTime) -> Self {
        Self { now, life: Duration::from_secs(48 * 3600) }
    }

    fn apply(self, params: &mut CertificateParams) {
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(self.now.as_secs().saturating_sub(LEEWAY.as_secs()));
        params.not_after = epoch + Duration::from_secs(self.now.as_secs()) + self.life;
    }
}

/// The key that signs the cluster's nodes, with its certificate.
pub struct Authority {
    cluster: Uid,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).field("certificate", &self.fingerprint()).finish()
    }
}

impl Authority {
    /// The authority kept in this directory; none if there is no whole one. The key is written before the certificate, so a
    /// certificate without key does not come from here.
    pub fn open(dir: &Path, cluster: Uid) -> Result<Option<Self>, PkiError> {
        let (key_path, path) = (dir.join(KEY_FILE), dir.join(CERTIFICATE_FILE));
        let (key, pem) = (NodeKey::open(&key_path)?, files::read(&path)?);
        let damaged = || PkiError::Damaged { path: path.clone() };
        let (Some(key), Some(pem)) = (key, &pem) else {
            return if pem.is_some() { Err(damaged()) } else { Ok(None) };
        };
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_no_pem| damaged())?;
        if subject(&der).as_deref() != Some(&name(cluster)) || key_of(&der) != Some(key.fingerprint()) {
            return Err(damaged());
        }
        let issuer = Issuer::from_ca_cert_der(&der, key.0).map_err(|_no_authority| damaged())?;
        Ok(Some(Self { cluster, issuer, der }))
    }

    /// The authority kept in this directory; a new one if there is none yet.
    pub fn ensure(dir: &Path, cluster: Uid, now: UnixTime) -> Result<Self, PkiError> {
        if let Some(authority) = Self::open(dir, cluster)? {
            return Ok(authority);
        }
        let key = NodeKey::ensure(&dir.join(KEY_FILE))?;
        let params = params(cluster, Validity { now, life: AUTHORITY_LIFE })?;
        let certificate = params.self_signed(&key.0).map_err(PkiError::crypto)?;
        files::write(&dir.join(CERTIFICATE_FILE), &certificate.pem())?;
        Ok(Self { cluster, der: certificate.der().clone(), issuer: Issuer::new(params, key.0) })
    }

    /// Its certificate, which every node trusts and nothing else.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// What a join token carries, so that a newcomer knows the right cluster from a wrong one.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// Signs the request's key as this node's. Nothing else of the request is taken over.
    pub fn sign(&self, request: &Request, node: Uid, validity: Validity) -> Result<Certificate, PkiError> {
        let mut signed = request.params()?;
        let identity = NodeIdentity { cluster: self.cluster, node };
        let uri = identity.to_string().try_into().map_err(PkiError::crypto)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&node.to_string());
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        validity.apply(&mut params);
        signed.params = params;
        let certificate = signed.signed_by(&self.issuer).map_err(PkiError::crypto)?;
        Certificate::read(certificate.der().clone())
    }
}

fn params(cluster: Uid, validity: Validity) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&name(cluster));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(serial()?);
    validity.apply(&mut params);
    Ok(params)
}

fn name(cluster: Uid) -> String {
    format!("ACP cluster {cluster}")
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = random::<SERIAL_BYTES>()?;
    // Positive, and of constant length.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn subject(der: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(name)
}

fn key_of(der: &CertificateDer<'_>) -> Option<Fingerprint> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(Fingerprint::of(parsed.public_key().raw))
}
