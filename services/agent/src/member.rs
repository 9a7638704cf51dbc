//! A membership while it lasts: who is in the cluster, what this node shows of itself, and its links.
//!
//! **Invariant**: what a directory takes away is gone before the directory is on disk; what it gives can wait for the disk.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use acp_base::{Name, Uid};
use acp_io_link::{Dialer, Gate};
use acp_io_pki::{Certificate, Held, NodeKey, PkiError, Trust};
use acp_wire_api::hub::{self, Cluster, Directory};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    peers::Peers,
    persist::{Record, Store},
    pool::Pool,
};

/// This node as a member.
#[derive(Debug)]
pub(crate) struct Member {
    /// This node's id.
    pub(crate) me: Uid,
    pub(crate) cluster: Cluster,
    /// Where this node is dialled.
    pub(crate) address: String,
    pub(crate) held: Held,
    pub(crate) gate: Gate,
    pub(crate) dialer: Dialer,
    pub(crate) pool: Pool,
    pub(crate) peers: Peers,
    /// Cancelled when the node has left: everything of this membership ends at once.
    pub(crate) left: CancellationToken,
    trust: Trust,
    authority: CertificateDer<'static>,
    directory: watch::Sender<Arc<Directory>>,
    heard: Mutex<Option<Instant>>,
    store: Store,
    /// What is on disk; nothing once the node has left, so that nobody writes it again.
    record: tokio::sync::Mutex<Option<Record>>,
}

/// Why a membership cannot begin. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemberError {
    /// Stored or sent by the hub: it is not hexadecimal digits of a certificate, or not ours.
    #[error("the certificate or the authority of the membership is not one of this node")]
    NotOurs,
    #[error("the membership's certificates cannot be used")]
    Pki(#[from] PkiError),
}

impl Member {
    /// The membership of this record, under the id in its certificate.
    pub(crate) fn new(key: &NodeKey, store: Store, record: Record) -> Result<Self, MemberError> {
        let der = |text: &str| acp_io_pki::from_hex(text).map(CertificateDer::from).ok_or(MemberError::NotOurs);
        let (certificate, authority) = (der(&record.certificate)?, der(&record.directory.authority)?);
        let certificate = Certificate::read(certificate)?;
        let cluster = record.directory.cluster.clone();
        let me = certificate.identity.node;
        if certificate.identity.cluster != cluster.uid {
            return Err(MemberError::NotOurs);
        }
        let trust = Trust::new(cluster.uid, authority.clone())?;
        trust.revoke(removed(&record.directory));
        let held = Held::new(key, certificate, &authority)?;
        Ok(Self {
            me,
            cluster,
            address: record.address.clone(),
            gate: Gate::new(&trust, &held)?,
            dialer: Dialer::new(trust.clone(), held.clone()),
            held,
            pool: Pool::default(),
            peers: Peers::default(),
            left: CancellationToken::new(),
            trust,
            authority,
            directory: watch::Sender::new(Arc::new(record.directory.clone())),
            heard: Mutex::new(None),
            store,
            record: tokio::sync::Mutex::new(Some(record)),
        })
    }

    /// The newest directory.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.borrow().clone()
    }

    /// Follows the directory.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.subscribe()
    }

    /// The member of this name.
    pub(crate) fn named(&self, name: &Name) -> Option<hub::Member> {
        self.directory().nodes.iter().find(|node| node.name == *name).cloned()
    }

    /// The member of this id.
    pub(crate) fn of(&self, uid: Uid) -> Option<hub::Member> {
        self.directory().nodes.iter().find(|node| node.uid == uid).cloned()
    }

    /// The member that runs the control plane.
    pub(crate) fn controller(&self) -> Option<hub::Member> {
        self.directory().nodes.iter().find(|node| node.controller).cloned()
    }

    /// Whether the control plane runs here.
    pub(crate) fn is_controller(&self) -> bool {
        self.controller().is_some_and(|node| node.uid == self.me)
    }

    /// How messages call a node: its name if it is known.
    pub(crate) fn name_of(&self, uid: Uid) -> String {
        self.of(uid).map_or_else(|| uid.to_string(), |node| node.name.to_string())
    }

    /// The control plane was heard.
    pub(crate) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When the control plane was last heard.
    pub(crate) fn heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes by this directory from now on, and keeps it.
    pub(crate) async fn adopt(&self, directory: Directory) -> io::Result<()> {
        if directory.cluster.uid != self.cluster.uid || directory.authority != self.directory().authority {
            tracing::error!(cluster = %directory.cluster.uid, "the control plane speaks for another cluster, and is not heeded");
            return Ok(());
        }
        if directory.revision < self.directory().revision {
            tracing::warn!(revision = directory.revision, "the control plane's directory is an older one");
        }
        self.trust.revoke(removed(&directory));
        let directory = Arc::new(directory);
        self.directory.send_replace(Arc::clone(&directory));
        self.pool.retain(|node| directory.nodes.iter().any(|member| member.uid == node));
        self.peers.cut(|node| directory.removed.contains(&node));
        self.keep(|record| record.directory = Directory::clone(&directory)).await
    }

    /// Shows this certificate from now on, once it is on disk.
    pub(crate) async fn renew(&self, key: &NodeKey, certificate: Certificate) -> Result<(), RenewError> {
        if certificate.identity != self.held.certificate().identity || certificate.key != key.fingerprint() {
            return Err(RenewError::NotOurs);
        }
        let text = acp_io_pki::to_hex(&certificate.der);
        self.keep(|record| record.certificate = text).await.map_err(RenewError::Keep)?;
        self.held.replace(key, certificate, &self.authority).map_err(RenewError::Pki)
    }

    async fn keep(&self, change: impl FnOnce(&mut Record)) -> io::Result<()> {
        let mut record = self.record.lock().await;
        let Some(kept) = record.as_mut() else { return Ok(()) };
        change(kept);
        let (store, kept) = (self.store.clone(), kept.clone());
        blocking(move || store.write(&kept)).await
    }

    /// Ends the membership: nothing of it is left on disk, and everything of it ends.
    pub(crate) async fn leave(&self) -> io::Result<()> {
        let mut record = self.record.lock().await;
        let store = self.store.clone();
        blocking(move || store.remove()).await?;
        *record = None;
        self.left.cancel();
        Ok(())
    }

    /// The token with which this node joined, as its hash.
    pub(crate) async fn token(&self) -> Option<String> {
        self.record.lock().await.as_ref()?.token.clone()
    }
}

/// Why a new certificate is not shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenewError {
    #[error("the certificate is of another node or key")]
    NotOurs,
    #[error("the certificate cannot be kept")]
    Keep(#[source] io::Error),
    #[error("the certificate cannot be used")]
    Pki(#[source] PkiError),
}

fn removed(directory: &Directory) -> BTreeSet<Uid> {
    directory.removed.iter().copied().collect()
}

/// Does what waits for the disk where nobody else waits for it.
pub(crate) async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
