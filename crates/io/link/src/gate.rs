//! The door of a node: every connection from outside comes through here.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_io_pki::{Certificate, Held, PkiError, Trust, newcomers, peers, renewing};
use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::{
    Class, LinkError,
    error::timed_out,
    limits::{HANDSHAKE_LIMIT, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, PARTING_BYTES_MAX, PARTING_LIMIT},
};

/// Somebody who came in.
#[derive(Debug)]
pub struct Accepted {
    /// What for.
    pub class: Class,
    /// Whose certificate was shown: always one, except for [`Class::Join`]. For [`Class::Renewal`] it may have expired, and
    /// its key has yet to be compared with the node's.
    pub peer: Option<Certificate>,
    /// The connection.
    pub stream: TlsStream<TcpStream>,
}

/// Lets peers in, a bounded number at a time.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    members: Arc<ServerConfig>,
    renewals: Arc<ServerConfig>,
    newcomers: Arc<ServerConfig>,
    waiting: Mutex<Waiting>,
}

/// Handshakes under way, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    number: u64,
    queue: VecDeque<(u64, IpAddr, CancellationToken)>,
    by_address: BTreeMap<IpAddr, usize>,
}

impl Gate {
    /// The door of the node that shows this and trusts those.
    pub fn new(trust: &Trust, held: &Held) -> Result<Self, PkiError> {
        let members = [Class::Control, Class::Calls, Class::Reverse, Class::Bulk].map(Class::protocol);
        Ok(Self(Arc::new(Inner {
            members: peers(trust, held, &members)?.server,
            renewals: renewing(trust, held, &[Class::Renewal.protocol()])?.server,
            newcomers: newcomers(held, &[Class::Join.protocol()])?,
            waiting: Mutex::default(),
        })))
    }

    /// Completes the handshake of a connection. To be called in a task of its own for each.
    pub async fn admit(&self, tcp: TcpStream, from: IpAddr) -> Result<Accepted, LinkError> {
        let place = Place::take(&self.0, from)?;
        tcp.set_nodelay(true).map_err(LinkError::Handshake)?;
        tokio::select! {
            () = place.given_up.cancelled() => Err(LinkError::Crowded),
            shaken = timeout(HANDSHAKE_LIMIT, self.shake(tcp)) => shaken.map_err(|_late| timed_out(HANDSHAKE_LIMIT))?,
        }
    }

    /// How many handshakes are under way.
    pub fn waiting(&self) -> usize {
        self.0.lock().queue.len()
    }

    async fn shake(&self, tcp: TcpStream) -> Result<Accepted, LinkError> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await.map_err(LinkError::Handshake)?;
        let class = start.client_hello().alpn().and_then(|mut offered| offered.find_map(Class::of));
        let class = class.ok_or(LinkError::Protocol)?;
        let config = match class {
            Class::Join => &self.0.newcomers,
            Class::Renewal => &self.0.renewals,
            Class::Control | Class::Calls | Class::Reverse | Class::Bulk => &self.0.members,
        };
        let stream = match start.into_stream(config.clone()).into_fallible().await {
            Ok(stream) => stream,
            Err((error, tcp)) => {
                part(tcp).await;
                return Err(LinkError::of_handshake(error));
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|shown| shown.first());
        let peer = shown.and_then(|der| Certificate::read(der.clone().into_owned()).ok());
        // What was offered first is what was agreed on: each configuration knows the class that chose it.
        if stream.get_ref().1.alpn_protocol() != Some(class.protocol()) || (peer.is_none() && class != Class::Join) {
            return Err(LinkError::Protocol);
        }
        Ok(Accepted { class, peer, stream })
    }
}

/// Lets a peer that was refused read why: closing while it still sends would throw the alert away.
async fn part(mut tcp: TcpStream) {
    let parting = async {
        tcp.shutdown().await?;
        tokio::io::copy(&mut tcp.take(PARTING_BYTES_MAX), &mut tokio::io::sink()).await
    };
    if !matches!(timeout(PARTING_LIMIT, parting).await, Ok(Ok(_))) {
        tracing::debug!("a refused peer did not read why");
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the handshakes under way, freed when it is dropped.
struct Place<'a> {
    gate: &'a Inner,
    number: u64,
    given_up: CancellationToken,
}

impl<'a> Place<'a> {
    /// A place for somebody from this address; the oldest handshake of all is given up for it if need be.
    fn take(gate: &'a Inner, from: IpAddr) -> Result<Self, LinkError> {
        let mut waiting = gate.lock();
        let count = waiting.by_address.entry(from).or_default();
        if *count >= HANDSHAKES_PER_ADDRESS_MAX {
            return Err(LinkError::Crowded);
        }
        *count += 1;
        if waiting.queue.len() >= HANDSHAKES_MAX
            && let Some((_, oldest, given_up)) = waiting.queue.pop_front()
        {
            waiting.leave(oldest);
            given_up.cancel();
        }
        waiting.number += 1;
        let (number, given_up) = (waiting.number, CancellationToken::new());
        waiting.queue.push_back((number, from, given_up.clone()));
        Ok(Self { gate, number, given_up })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.gate.lock();
        // Not there any more if it was given up.
        if let Ok(at) = waiting.queue.binary_search_by_key(&self.number, |(number, ..)| *number)
            && let Some((_, from, _)) = waiting.queue.remove(at)
        {
            waiting.leave(from);
        }
    }
}

impl Waiting {
    fn leave(&mut self, from: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&from);
            }
        }
    }
}
