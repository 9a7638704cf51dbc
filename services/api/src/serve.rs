//! Connections: accepted, bounded, and cut when their client dawdles.

mod stream;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use acp_io_daemon::{Fatal, Tasks};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    limits::{
        ACCEPT_PAUSE, BUFFER_BYTES_MAX, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX, SEND_BUFFER_BYTES,
        WRITE_TIMEOUT,
    },
    metrics, routes,
};

/// One connection, as its requests see it.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    work: Arc<()>,
}

/// A connection is busy with a request that showed a key, for as long as one of these exists.
#[derive(Clone, Debug)]
pub(crate) struct Working {
    _work: Arc<()>,
}

impl Connection {
    pub(crate) fn work(self: &Arc<Self>) -> Working {
        Working { _work: Arc::clone(&self.work) }
    }

    fn is_working(&self) -> bool {
        Arc::strong_count(&self.work) > 1
    }
}

/// The open connections, oldest first.
#[derive(Debug)]
struct Open {
    max: usize,
    connections: BTreeMap<u64, (Weak<Connection>, Option<AbortHandle>)>,
    next: u64,
}

impl Open {
    /// A place for a new connection: a free one, or that of the oldest which is not busy for a key, so that somebody who only
    /// connects keeps nobody out.
    fn admit(&mut self, connection: &Arc<Connection>) -> Option<u64> {
        if self.connections.len() >= self.max {
            metrics::displaced();
            let mut all = self.connections.iter();
            let idle = all.find(|(_, (connection, _))| connection.upgrade().is_none_or(|one| !one.is_working()));
            let number = *idle?.0;
            if let Some((_, Some(task))) = self.connections.remove(&number) {
                task.abort();
            }
        }
        let number = self.next;
        self.next += 1;
        self.connections.insert(number, (Arc::downgrade(connection), None));
        metrics::connections(self.connections.len());
        Some(number)
    }
}

/// A connection's place, given back however its task ends.
#[derive(Debug)]
struct Place {
    open: Arc<Mutex<Open>>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.connections.remove(&self.number);
        metrics::connections(open.connections.len());
    }
}

/// The answering side.
#[derive(Clone)]
struct Server {
    router: TowerToHyperService<Router>,
    http: http1::Builder,
    open: Arc<Mutex<Open>>,
    tasks: Tasks,
    drain: CancellationToken,
}

/// Listens, and answers until the drain. Returns where it listens.
///
/// # Errors
/// If the address cannot be had.
pub(crate) async fn start(
    address: SocketAddr,
    router: Router,
    tasks: &Tasks,
    drain: &CancellationToken,
) -> Result<SocketAddr, Fatal> {
    let cannot = |error: std::io::Error| Fatal::temporary(format!("cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    let open = Open { max: CONNECTIONS_MAX, connections: BTreeMap::new(), next: 0 };
    let server = Server {
        router: TowerToHyperService::new(router),
        http: http(),
        open: Arc::new(Mutex::new(open)),
        tasks: tasks.clone(),
        drain: drain.clone(),
    };
    tasks.spawn("accept HTTP", server.accept(listener));
    Ok(bound)
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.max_buf_size(BUFFER_BYTES_MAX).max_header_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    http
}

impl Server {
    async fn accept(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.drain.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _peer)) => self.welcome(stream),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream) {
        let connection = Arc::<Connection>::default();
        let Some(number) = lock(&self.open).admit(&connection) else { return };
        let place = Place { open: Arc::clone(&self.open), number };
        let (server, stream) = (self.clone(), prepared(stream));
        let task = self.tasks.spawn("HTTP connection", async move {
            let _place = place;
            server.converse(stream, connection).await;
        });
        if let Some((_, handle)) = lock(&self.open).connections.get_mut(&number) {
            *handle = Some(task);
        }
    }

    async fn converse(self, stream: TcpStream, connection: Arc<Connection>) {
        let router = self.router.clone();
        let service =
            hyper::service::service_fn(move |request| routes::serve(router.clone(), Arc::clone(&connection), request));
        let io = TokioIo::new(stream::Impatient::new(stream, WRITE_TIMEOUT));
        let mut serving = std::pin::pin!(self.http.serve_connection(io, service));
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = self.drain.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Bounds what the kernel keeps of a connection.
fn prepared(stream: TcpStream) -> TcpStream {
    let bounded = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
    let prompt = stream.set_nodelay(true);
    if let Err(error) = bounded.map_err(std::io::Error::from).and(prompt) {
        tracing::debug!(%error, "a connection keeps the kernel's settings");
    }
    stream
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_connects_gives_way_and_who_works_does_not() {
        let mut open = Open { max: 2, connections: BTreeMap::new(), next: 0 };
        let (one, two, three) = (Arc::default(), Arc::default(), Arc::default());
        let working = Connection::work(&one);
        assert_eq!((open.admit(&one), open.admit(&two)), (Some(0), Some(1)));
        assert_eq!(open.admit(&three), Some(2), "the second was idle");
        assert_eq!(open.connections.keys().copied().collect::<Vec<_>>(), [0, 2]);
        let also = Connection::work(&three);
        assert_eq!(open.admit(&Arc::default()), None, "all work");
        drop(also);
        assert_eq!(open.admit(&Arc::default()), Some(3));
        drop(working);
        assert_eq!(open.admit(&Arc::default()), Some(4), "the oldest gives way first");
        assert_eq!(open.connections.keys().copied().collect::<Vec<_>>(), [3, 4]);
    }
}
