//! The accept loop: a task per connection, all of them bounded.

use std::{
    collections::BTreeMap,
    os::unix::net::UnixListener as StdListener,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use acp_base::{Code, Failure};
use acp_io_varlink::{Peer, Reader, Writer};
use tokio::{
    net::{UnixListener, UnixStream},
    time::Instant,
};

use crate::{Context, Fatal, Router};

mod common;
mod connection;
mod varlink_service;

/// The largest call taken, in bytes: a publication of 1,000 slots fits, a flood does not.
pub(crate) const CALL_BYTES_MAX: usize = 1024 * 1024;
/// Open connections, all callers together: what a node of a thousand systems needs, several times over.
const CONNECTIONS_MAX: usize = 4096;
/// Open connections of one user, so that no user locks the others out.
const CONNECTIONS_PER_UID_MAX: usize = 2048;
/// The pause after a failed accept, for example without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A daemon's answering side. It ends with the drain.
#[derive(Clone, Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(crate) router: Router,
    pub(crate) started: Instant,
    pub(crate) calls: AtomicU64,
    connections: Mutex<BTreeMap<u32, usize>>,
}

impl Server {
    pub(crate) fn start(context: &Context, mut router: Router, listener: StdListener) -> Result<Self, Fatal> {
        common::add_routes(&mut router, context);
        let missing = router.missing(&context.interfaces);
        if !missing.is_empty() {
            return Err(Fatal::internal(format!("declared methods without a handler: {}", missing.join(", "))));
        }
        let listener = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
        let listener = listener.map_err(|error| Fatal::temporary(format!("cannot listen: {error}")))?;
        let shared = Arc::new(Shared {
            context: context.clone(),
            router,
            started: Instant::now(),
            calls: AtomicU64::new(0),
            connections: Mutex::default(),
        });
        common::attach(&shared);
        context.tasks.spawn("accept", accept(listener, Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.connection_count()
    }
}

impl Shared {
    pub(crate) fn connection_count(&self) -> usize {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    fn admit(&self, uid: u32) -> Result<(), Failure> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = connections.values().sum();
        let own = connections.entry(uid).or_default();
        let full = |max: usize, whose: &str| {
            Failure::new(
                Code::ResourceExhausted,
                format!("{} has {max} open connections{whose}, the most it takes: close some", self.context.noun),
            )
        };
        if *own >= CONNECTIONS_PER_UID_MAX {
            return Err(full(CONNECTIONS_PER_UID_MAX, &format!(" of uid {uid}")));
        }
        if total >= CONNECTIONS_MAX {
            return Err(full(CONNECTIONS_MAX, ""));
        }
        *own += 1;
        Ok(())
    }

    fn release(&self, uid: u32) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = connections.get_mut(&uid) {
            *own -= 1;
            if *own == 0 {
                connections.remove(&uid);
            }
        }
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            () = shared.context.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _address)) => welcome(stream, &shared),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn welcome(stream: UnixStream, shared: &Arc<Shared>) {
    let (reader, writer) = acp_io_varlink::split(stream, CALL_BYTES_MAX);
    let peer = match reader.peer() {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(%error, "a caller without credentials was turned away");
            return;
        }
    };
    match shared.admit(peer.uid) {
        Ok(()) => {
            let shared = Arc::clone(shared);
            shared.context.tasks.clone().spawn("connection", converse(reader, writer, peer, shared));
        }
        Err(failure) => {
            metrics::counter!("acp_connections_refused_total").increment(1);
            shared.context.tasks.spawn("refuse connection", connection::refuse(writer, failure));
        }
    }
}

async fn converse(reader: Reader, writer: Writer, peer: Peer, shared: Arc<Shared>) {
    let _admitted = Admitted { shared: Arc::clone(&shared), uid: peer.uid };
    connection::Connection::new(reader, writer, peer, shared).run().await;
}

/// Gives a connection's place back, however its task ends.
#[derive(Debug)]
struct Admitted {
    shared: Arc<Shared>,
    uid: u32,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.release(self.uid);
    }
}
