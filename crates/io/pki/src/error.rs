//! Why an operation on keys and certificates failed, and why a peer was refused.

use std::path::PathBuf;

use acp_base::Uid;
use rustls::CertificateError;

/// Why something could not be made, read or stored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The operator's: a file cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// Read or write.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The operator's: a file is not what was written there.
    #[error("{} is damaged: restore it from a backup", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The operator's: others can read a private key.
    #[error("{} can be read by others (mode {mode:o}): the key is no secret any more; replace it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The requester's: a signing request that does not verify or asks for an unknown kind of key.
    #[error("the signing request is no valid one for an ECDSA P-256 key")]
    BadRequest,
    /// The peer's: bytes that are no certificate of ours.
    #[error("these bytes are no certificate of a node or of a cluster's authority")]
    BadCertificate,
    /// A defect of ours, or a machine without randomness.
    #[error("cannot make a key or certificate")]
    Crypto(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PkiError {
    pub(crate) fn crypto(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Crypto(Box::new(error))
    }
}

/// Why a peer's certificate is not accepted. Each is the peer's fault; only `Expired` can mend itself, by renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Not signed by this cluster's authority; self-signed ones are of this kind.
    #[error("its certificate is not of this cluster's authority")]
    Issuer,
    /// Signed by our authority, but names another cluster.
    #[error("its certificate is of cluster {0}, which is not ours")]
    Cluster(Uid),
    /// Valid, but of another node than the one that was called.
    #[error("it is node {0}, which is not the one called")]
    Node(Uid),
    /// Its time is over.
    #[error("its certificate has expired")]
    Expired,
    /// Its time has not begun: one of the two clocks is wrong.
    #[error("its certificate is not valid yet: one of the two clocks is wrong")]
    Early,
    /// The node was removed from the cluster.
    #[error("node {0} was removed from the cluster")]
    Revoked(Uid),
    /// A certificate without our names, for another purpose, or none at all.
    #[error("its certificate is not one of a node")]
    NoNode,
}

impl Refusal {
    /// The label under which refusals are counted.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Cluster(_) => "cluster",
            Self::Node(_) => "node",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Revoked(_) => "revoked",
            Self::NoNode => "no_node",
        }
    }

    /// The reason in a failed handshake, if our side refused the peer's certificate there.
    pub fn of(error: &std::io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(certificate) => Some(Self::of_certificate(certificate)),
            rustls::Error::NoCertificatesPresented => Some(Self::NoNode),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::Early,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Issuer,
            CertificateError::Other(other) => other.0.downcast_ref().copied().unwrap_or(Self::NoNode),
            _ => Self::NoNode,
        }
    }
}

impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(CertificateError::Other(rustls::OtherError(std::sync::Arc::new(refusal))))
    }
}
