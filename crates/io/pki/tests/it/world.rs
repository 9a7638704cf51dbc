//! Clusters, nodes and handshakes for the tests.

use std::{io, sync::Arc, time::Duration};

use acp_base::Uid;
use acp_io_pki::{Authority, Certificate, Held, NodeKey, Side, Trust, Validity, peers, server_name};
use rustls::{ClientConfig, ServerConfig, pki_types::UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The bytes in flight of a connection in memory: more than a handshake has.
const PIPE_BYTES: usize = 64 * 1024;
/// The protocol that both ends offer.
pub(crate) const PROTOCOL: &[&[u8]] = &[b"acp-test"];

pub(crate) fn now() -> UnixTime {
    UnixTime::now()
}

/// Some seconds from now; negative ones have passed.
pub(crate) fn moment(seconds: i64) -> UnixTime {
    let at = now().as_secs().checked_add_signed(seconds).expect("after 1970");
    UnixTime::since_unix_epoch(Duration::from_secs(at))
}

/// A cluster with its authority.
pub(crate) struct Cluster {
    pub(crate) uid: Uid,
    pub(crate) authority: Authority,
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn new(uid: u128) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let uid = Uid::from_u128(uid);
        let authority = Authority::ensure(dir.path(), uid, now()).expect("made");
        Self { uid, authority, _dir: dir }
    }

    /// A node whose certificate counts from now on for 48 hours.
    pub(crate) fn node(&self, node: u128) -> Node {
        self.node_at(node, Validity::of_node(now()))
    }

    pub(crate) fn node_at(&self, node: u128, validity: Validity) -> Node {
        let key = NodeKey::generate().expect("a key");
        let certificate = self.sign(&key, node, validity);
        let held = Held::new(&key, certificate, self.authority.certificate()).expect("its own key");
        let trust = Trust::new(self.uid, self.authority.certificate().clone()).expect("an authority");
        Node { uid: Uid::from_u128(node), key, held, trust }
    }

    pub(crate) fn sign(&self, key: &NodeKey, node: u128, validity: Validity) -> Certificate {
        let request = key.request().expect("a request");
        self.authority.sign(&request, Uid::from_u128(node), validity).expect("signed")
    }
}

/// A node with what it shows and whom it trusts.
pub(crate) struct Node {
    pub(crate) uid: Uid,
    pub(crate) key: NodeKey,
    pub(crate) held: Held,
    pub(crate) trust: Trust,
}

impl Node {
    pub(crate) fn peers(&self) -> Side {
        peers(&self.trust, &self.held, PROTOCOL).expect("configured")
    }
}

/// What a handshake brought: each side's view of the other, or why it refused.
pub(crate) struct Met {
    pub(crate) server: io::Result<Option<Certificate>>,
    pub(crate) client: io::Result<Option<Certificate>>,
}

/// Dials `to` with these configurations and exchanges a byte each way, since in TLS 1.3 a client learns of its refusal only
/// when it reads.
pub(crate) async fn meet(server: Arc<ServerConfig>, client: Arc<ClientConfig>, to: Uid) -> Met {
    let (near, far) = duplex(PIPE_BYTES);
    let accept = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"!").await?;
        stream.read_u8().await?;
        Ok(certificate(stream.get_ref().1.peer_certificates()))
    };
    let dial = async {
        let mut stream = TlsConnector::from(client).connect(server_name(to), near).await?;
        stream.read_u8().await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        let seen = certificate(stream.get_ref().1.peer_certificates());
        // Until the server has read and gone.
        drop(stream.read_u8().await);
        Ok(seen)
    };
    let (server, client) = tokio::join!(accept, dial);
    Met { server, client }
}

fn certificate(shown: Option<&[rustls::pki_types::CertificateDer<'_>]>) -> Option<Certificate> {
    let der = shown?.first()?.clone().into_owned();
    Some(Certificate::read(der).expect("of a node"))
}

/// Two nodes meet as peers.
pub(crate) async fn peers_meet(server: &Node, client: &Node) -> Met {
    meet(server.peers().server, client.peers().client, server.uid).await
}
