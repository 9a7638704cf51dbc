//! Calling a node.

use std::{net::SocketAddr, sync::Arc};

use acp_base::Uid;
use acp_io_pki::{Fingerprint, Held, PkiError, Trust, asking, authority_shown, joining, peers, renewing, server_name};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Class, LinkError,
    error::timed_out,
    limits::{CONNECT_LIMIT, HANDSHAKE_LIMIT},
};

/// Dials nodes of the cluster as this node.
#[derive(Clone, Debug)]
pub struct Dialer {
    trust: Trust,
    held: Held,
}

impl Dialer {
    /// As this node, trusting these.
    pub const fn new(trust: Trust, held: Held) -> Self {
        Self { trust, held }
    }

    /// Connects to the node at this address; whoever answers there and is not that node is refused.
    pub async fn dial(&self, address: SocketAddr, node: Uid, class: Class) -> Result<TlsStream<TcpStream>, LinkError> {
        let make = if class == Class::Renewal { renewing } else { peers };
        let side = make(&self.trust, &self.held, &[class.protocol()]);
        connect(address, node, class, side.map(|side| side.client)).await
    }
}

/// Connects to some member of the cluster whose authority has this fingerprint, without a certificate of one's own.
pub async fn dial_to_join(address: SocketAddr, authority: Fingerprint) -> Result<TlsStream<TcpStream>, LinkError> {
    // Any member will do; the name is looked at by nobody.
    let anyone = Uid::from_u128(0);
    connect(address, anyone, Class::Join, joining(authority, &[Class::Join.protocol()])).await
}

/// Connects to a member of some cluster, as [`dial_to_join`] does, and answers the fingerprint of the authority that was shown:
/// whoever goes on has to compare it.
pub async fn dial_to_ask(address: SocketAddr) -> Result<(TlsStream<TcpStream>, Fingerprint), LinkError> {
    let stream = connect(address, Uid::from_u128(0), Class::Join, asking(&[Class::Join.protocol()])).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(authority_shown);
    shown.map(|authority| (stream, authority)).ok_or(LinkError::Garbage)
}

async fn connect(
    address: SocketAddr,
    node: Uid,
    class: Class,
    config: Result<Arc<ClientConfig>, PkiError>,
) -> Result<TlsStream<TcpStream>, LinkError> {
    let config = config.map_err(|error| LinkError::Handshake(std::io::Error::other(error)))?;
    let connecting = timeout(CONNECT_LIMIT, TcpStream::connect(address));
    let tcp = connecting.await.map_err(|_late| timed_out(CONNECT_LIMIT))?.map_err(LinkError::Unreachable)?;
    tcp.set_nodelay(true).map_err(LinkError::Unreachable)?;
    let shaking = timeout(HANDSHAKE_LIMIT, TlsConnector::from(config).connect(server_name(node), tcp));
    let stream = shaking.await.map_err(|_late| timed_out(HANDSHAKE_LIMIT))?.map_err(LinkError::of_handshake)?;
    if stream.get_ref().1.alpn_protocol() == Some(class.protocol()) { Ok(stream) } else { Err(LinkError::Protocol) }
}
