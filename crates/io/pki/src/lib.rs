//! Who a node is to its peers: the cluster's certificate authority, nodes' keys and certificates, what TLS accepts, and the
//! keys by which controllers vouch for the log.
//!
//! Deliberately not here: connections (`io/link`), who may join and who was removed (the control plane decides; it hands the
//! list of the revoked to [`Trust`]).
//!
//! **Invariants**: a certificate says one thing, cluster and node ([`NodeIdentity`]), and nothing that a request asks for is
//! copied into it. TLS 1.3 only, both sides verified. Private keys lie in files of mode 0600 and are shown by no `Debug`.

mod authority;
mod certificate;
mod error;
mod files;
mod handover;
mod held;
mod identity;
mod key;
mod random;
mod signing;
mod tls;
mod trust;
mod verify;

pub use authority::{Authority, LEEWAY, Validity};
pub use certificate::{Certificate, Fingerprint};
pub use error::{PkiError, Refusal};
pub use held::Held;
pub use identity::NodeIdentity;
pub use key::{NodeKey, Request};
pub use random::random;
pub use signing::{CheckpointKey, is_signed_by};
pub use tls::{Side, asking, authority_shown, install_provider, joining, newcomers, peers, renewing, server_name};
pub use trust::Trust;
