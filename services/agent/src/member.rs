//! A membership while it lasts: who is in the cluster, what this node shows of itself, and its links.
//!
//! **Invariants**: what a directory takes away is gone before the directory is on disk; what it gives can wait for the disk. A
//! directory never takes the place of a newer one, whoever sends it: the higher epoch is newer, then the higher revision.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use acp_base::{Name, Uid};
use acp_io_link::{Dialer, Gate};
use acp_io_pki::{Certificate, Fingerprint, Held, NodeKey, PkiError, Trust};
use acp_wire_api::hub::{self, Cluster, Directory};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    adopt::{AdoptError, Adopted, compare},
    controllers::Controllers,
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
    pub(crate) controllers: Controllers,
    /// Held while the cluster service enters the cluster's log.
    pub(crate) entering: tokio::sync::Mutex<()>,
    /// Cancelled when the node has left: everything of this membership ends at once.
    pub(crate) left: CancellationToken,
    trust: Trust,
    authority: CertificateDer<'static>,
    directory: watch::Sender<Arc<Directory>>,
    heard: Mutex<Option<Instant>>,
    /// Whether a member has turned this node away as removed since a controller was last heard.
    turned_away: AtomicBool,
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
        let der = |text: &str| acp_base::from_hex(text).map(CertificateDer::from).ok_or(MemberError::NotOurs);
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
            controllers: Controllers::default(),
            entering: tokio::sync::Mutex::default(),
            left: CancellationToken::new(),
            trust,
            authority,
            directory: watch::Sender::new(Arc::new(record.directory.clone())),
            heard: Mutex::new(None),
            turned_away: AtomicBool::new(false),
            store,
            record: tokio::sync::Mutex::new(Some(record)),
        })
    }

    /// The fingerprint of the cluster's authority.
    pub(crate) fn authority(&self) -> Fingerprint {
        Fingerprint::of(&self.authority)
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

    /// The controllers, the one to be asked first in front.
    pub(crate) fn controllers(&self) -> Vec<hub::Member> {
        self.controllers.order(&self.directory(), self.me)
    }

    /// Whether the control plane runs here, too.
    pub(crate) fn is_controller(&self) -> bool {
        self.of(self.me).is_some_and(|node| node.controller)
    }

    /// Whether this node was taken out: by the directory, or because other members turn it away.
    pub(crate) fn is_removed(&self) -> bool {
        self.turned_away.load(Ordering::Relaxed) || self.directory().removed.contains(&self.me)
    }

    /// Another member has turned this node away as removed.
    pub(crate) fn turned_away(&self) {
        self.turned_away.store(true, Ordering::Relaxed);
    }

    /// How messages call a node: its name if it is known.
    pub(crate) fn name_of(&self, uid: Uid) -> String {
        self.of(uid).map_or_else(|| uid.to_string(), |node| node.name.to_string())
    }

    /// The control plane was heard.
    pub(crate) fn hear(&self) {
        self.turned_away.store(false, Ordering::Relaxed);
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When the control plane was last heard.
    pub(crate) fn heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes by this directory from now on, and keeps it, if it is newer than the one that this node has.
    pub(crate) async fn adopt(&self, directory: Directory) -> Result<Adopted, AdoptError> {
        let known = self.directory();
        if directory.cluster.uid != self.cluster.uid || directory.authority != known.authority {
            return Err(AdoptError::OtherCluster(directory.cluster.uid));
        }
        match compare(&directory, &known) {
            None => return Err(AdoptError::OtherEpoch { theirs: directory.epoch, ours: known.epoch.clone() }),
            Some(std::cmp::Ordering::Greater) => {}
            Some(std::cmp::Ordering::Equal) => return Ok(Adopted::Known),
            Some(std::cmp::Ordering::Less) => return Ok(Adopted::Older),
        }
        self.trust.revoke(removed(&directory));
        self.controllers.appointed(&known, &directory);
        let directory = Arc::new(directory);
        self.directory.send_replace(Arc::clone(&directory));
        self.pool.retain(|node| directory.nodes.iter().any(|member| member.uid == node));
        self.peers.cut(|node| directory.removed.contains(&node));
        let own = directory.nodes.iter().find(|node| node.uid == self.me).map(|own| own.address.clone());
        let kept = self.keep(|record| {
            record.directory = Directory::clone(&directory);
            // A rejoin begins with the address that the cluster knew last.
            record.address = own.unwrap_or_else(|| record.address.clone());
        });
        kept.await?;
        Ok(Adopted::Newer)
    }

    /// Whether the cluster service has entered this cluster's log.
    pub(crate) async fn has_entered(&self) -> bool {
        self.record.lock().await.as_ref().is_some_and(|record| record.entered)
    }

    /// The cluster service has entered this cluster's log. Durable when this returns.
    pub(crate) async fn entered(&self) -> io::Result<()> {
        self.keep(|record| record.entered = true).await
    }

    /// Shows this certificate from now on, once it is on disk.
    pub(crate) async fn renew(&self, key: &NodeKey, certificate: Certificate) -> Result<(), RenewError> {
        if certificate.identity != self.held.certificate().identity || certificate.key != key.fingerprint() {
            return Err(RenewError::NotOurs);
        }
        let text = acp_base::to_hex(&certificate.der);
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

    /// Ends the membership, on disk first; everything of it ends.
    pub(crate) async fn leave(&self) -> io::Result<()> {
        let mut record = self.record.lock().await;
        let store = self.store.clone();
        blocking(move || store.end()).await?;
        *record = None;
        self.left.cancel();
        Ok(())
    }

    /// Ends what runs of this membership once its successor is kept in its place.
    pub(crate) async fn give_way(&self, successor: Record) -> io::Result<()> {
        let mut record = self.record.lock().await;
        let store = self.store.clone();
        blocking(move || store.write(&successor)).await?;
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
