//! From the wire to the database and back; no decisions.

mod domain;
mod follow;
mod history;
mod leases;
mod list;
mod log;
mod objects;
mod publish;
mod shares;
mod status;
mod switch;
mod watch;

use std::{future::Future, sync::Arc, time::Duration};

use acp_base::{Code, Failure, Name};
use acp_io_daemon::{Call, Caller, Router, Sink};
use acp_io_store::Store;
use acp_wire_api::{
    Method,
    cluster::{self as api, Checkpoint},
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{mpsc, watch as channel};

use self::shares::Shares;
use crate::{
    domain::Questions,
    following::Following,
    history::History,
    moves::Switch,
    peers::Peers,
    proposer::{Asked, Hubs},
    service::Handle,
};

/// How long a read waits for its `min_index` at most; a caller's own deadline may be shorter.
const MIN_INDEX_WAIT: Duration = Duration::from_secs(30);

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) database: Handle,
    pub(crate) proposals: mpsc::Sender<Asked>,
    pub(crate) hubs: Hubs,
    pub(crate) store: Arc<Store>,
    pub(crate) history: History,
    /// Up to which index the stored log is complete for readers.
    pub(crate) noted: channel::Receiver<u64>,
    pub(crate) peers: channel::Receiver<Arc<Peers>>,
    pub(crate) following: Following,
    /// The newest position that somebody vouches for.
    pub(crate) checkpoint: channel::Receiver<Option<Checkpoint>>,
    pub(crate) switches: mpsc::Sender<Switch>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) domain: Questions,
}

impl App {
    /// What the cluster calls this node.
    fn here(&self) -> Name {
        self.peers.borrow().here.clone()
    }

    /// Waits until the replica has applied the index that the caller asks for.
    async fn reach(&self, min_index: Option<u64>) -> Result<(), Failure> {
        let Some(index) = min_index else { return Ok(()) };
        match tokio::time::timeout(MIN_INDEX_WAIT, self.database.reach(index)).await {
            Ok(reached) => reached,
            Err(_elapsed) => {
                let applied = self.database.standing().await?.index;
                let message = format!("entry {index} has not come: this replica stands at {applied}");
                Err(Failure::new(Code::DeadlineExceeded, message))
            }
        }
    }

    /// How the log names the caller: a service with its node, anybody else by user.
    fn actor(&self, caller: &Caller) -> String {
        match caller.daemon() {
            Some(noun) => format!("{noun}@{}", self.here()),
            None => caller.actor(),
        }
    }
}

/// A reply put together from parts that are JSON already, as one text.
fn to_json<T: Serialize>(reply: &T) -> Result<Box<RawValue>, Failure> {
    to_raw_value(reply).map_err(|error| Failure::internal(format!("cannot write a reply: {error}")))
}

/// Every method of `acp.cluster`.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    once::<api::Create, _, _>(&mut router, app, objects::create);
    once::<api::Update, _, _>(&mut router, app, objects::update);
    once::<api::Delete, _, _>(&mut router, app, objects::delete);
    once::<api::Get, _, _>(&mut router, app, objects::get);
    once::<api::Publish, _, _>(&mut router, app, publish::publish);
    once::<api::GetAt, _, _>(&mut router, app, history::get_at);
    once::<api::Undo, _, _>(&mut router, app, history::undo);
    once::<api::Enter, _, _>(&mut router, app, switch::enter);
    once::<api::Part, _, _>(&mut router, app, switch::part);
    once::<api::ListLeases, _, _>(&mut router, app, leases::list);
    once::<api::VerifyLog, _, _>(&mut router, app, log::verify);
    once::<api::GetStatus, _, _>(&mut router, app, status::status);
    once::<api::GetDomain, _, _>(&mut router, app, domain::get);
    stream::<api::List, _, _>(&mut router, app, list::list);
    stream::<api::ListAt, _, _>(&mut router, app, history::list_at);
    stream::<api::Watch, _, _>(&mut router, app, watch::watch);
    stream::<api::ReadLog, _, _>(&mut router, app, log::read);
    once::<api::AskRelay, _, _>(&mut router, app, domain::ask_relay);
    stream::<api::Relay, _, _>(&mut router, app, domain::relay);
    stream::<api::Follow, _, _>(&mut router, app, follow::follow);
    router
}

fn once<M, H, F>(router: &mut Router, app: &Arc<App>, handler: H)
where
    M: Method,
    H: Fn(Arc<App>, Call<M>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<M::Reply, Failure>> + Send + 'static,
{
    let app = Arc::clone(app);
    router.once::<M, _, _>(move |call| handler(Arc::clone(&app), call));
}

fn stream<M, H, F>(router: &mut Router, app: &Arc<App>, handler: H)
where
    M: Method,
    H: Fn(Arc<App>, Call<M>, Sink<M>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<M::Reply, Failure>> + Send + 'static,
{
    let app = Arc::clone(app);
    router.stream::<M, _, _>(move |call, sink| handler(Arc::clone(&app), call, sink));
}
