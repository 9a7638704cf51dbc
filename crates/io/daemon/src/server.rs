//! The accept loop: a task per connection, all of them bounded.

use std::{
    os::unix::net::UnixListener as StdListener,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use acp_base::{Code, Failure};
use acp_io_varlink::{Budget, HeldMax, Peer};
use tokio::{
    net::{UnixListener, UnixStream},
    time::Instant,
};

use crate::{Context, Fatal, Router};

mod common;
mod connection;
mod farewell;
mod places;
mod refusals;
mod varlink_service;

use places::{Place, Places};
pub use refusals::Refusals;

/// The largest call taken, in bytes: a publication of 1,000 slots fits, a flood does not.
pub(crate) const CALL_BYTES_MAX: usize = 1024 * 1024;
/// What unfinished messages, calls being answered and unread replies may take together: sixteen whole messages of one user
/// at the same moment, four such users. One call at a time is all that most users ever have on the way.
const HELD_MAX: HeldMax = HeldMax { uid_bytes: 16 * CALL_BYTES_MAX, total_bytes: 64 * CALL_BYTES_MAX };
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
    places: Arc<Places>,
    budget: Arc<Budget>,
    refusals: Refusals,
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
            places: Arc::default(),
            budget: Budget::new(HELD_MAX),
            refusals: Refusals::default(),
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
        self.places.taken()
    }

    /// A place for a connection of this user.
    fn admit(&self, uid: u32) -> Result<Place, Failure> {
        let is_ours = uid == 0 || self.context.identities.daemon(uid).is_some();
        self.places.take(uid, is_ours).map_err(|full| {
            let text = format!("{} has {full}, the most it takes: close some", self.context.noun);
            Failure::new(Code::ResourceExhausted, text).blame(acp_base::Blame::Caller)
        })
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
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(%error, "a caller without credentials was turned away");
            return;
        }
    };
    if let Err(error) = acp_io_varlink::limit_send_buffer(&stream) {
        tracing::debug!(%error, "the kernel's buffer for replies stays as it is");
    }
    match shared.admit(peer.uid) {
        Ok(place) => {
            let connection = connection::Connection::new(stream, peer, Arc::clone(shared));
            shared.context.tasks.spawn("connection", async move {
                let _place = place;
                connection::converse(connection).await;
            });
        }
        Err(failure) => {
            metrics::counter!("acp_connections_refused_total").increment(1);
            shared.context.tasks.spawn("refuse connection", farewell::refuse(stream, failure));
        }
    }
}
