//! Whom a node trusts, changed while connections are open.

use std::{collections::BTreeSet, sync::Arc};

use acp_base::Uid;
use arc_swap::ArcSwap;
use rustls::{RootCertStore, pki_types::CertificateDer};

use crate::PkiError;

/// The cluster's authority and the nodes it must no longer vouch for.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(crate) cluster: Uid,
    pub(crate) roots: Arc<RootCertStore>,
    revoked: Arc<ArcSwap<BTreeSet<Uid>>>,
}

impl Trust {
    /// Trusts this authority of this cluster; nobody is revoked yet.
    pub fn new(cluster: Uid, authority: CertificateDer<'static>) -> Result<Self, PkiError> {
        let mut roots = RootCertStore::empty();
        roots.add(authority).map_err(|_no_authority| PkiError::BadCertificate)?;
        Ok(Self { cluster, roots: Arc::new(roots), revoked: Arc::default() })
    }

    /// The cluster.
    pub const fn cluster(&self) -> Uid {
        self.cluster
    }

    /// Replaces the list of removed nodes. New handshakes see it at once; ending open connections is their owner's part.
    pub fn revoke(&self, nodes: BTreeSet<Uid>) {
        self.revoked.store(Arc::new(nodes));
    }

    /// Whether the node was removed.
    pub fn is_revoked(&self, node: Uid) -> bool {
        self.revoked.load().contains(&node)
    }
}
