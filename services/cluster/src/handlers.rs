//! From the wire to the database and back; no decisions.

mod list;
mod log;
mod objects;
mod publish;
mod shares;
mod status;
mod watch;

use std::{future::Future, sync::Arc, time::Duration};

use acp_base::{Code, Failure, Name};
use acp_io_daemon::{Call, Caller, Router, Sink};
use acp_io_store::Store;
use acp_wire_api::{Method, cluster as api};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{mpsc, watch as channel};

use self::shares::Shares;
use crate::{sequencer::Proposal, service::Handle};

/// How long a read waits for its `min_index` at most; a caller's own deadline may be shorter.
const MIN_INDEX_WAIT: Duration = Duration::from_secs(30);

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    node: Name,
    database: Handle,
    proposals: mpsc::Sender<Proposal>,
    store: Arc<Store>,
    noted: channel::Receiver<u64>,
    shares: Arc<Shares>,
}

impl App {
    /// Handlers of this node's replica. `noted` says up to which index the stored log is complete for readers.
    pub(crate) fn new(
        node: Name,
        database: Handle,
        proposals: mpsc::Sender<Proposal>,
        store: Arc<Store>,
        noted: channel::Receiver<u64>,
    ) -> Self {
        Self { node, database, proposals, store, noted, shares: Arc::default() }
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
            Some(noun) => format!("{noun}@{}", self.node),
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
    once::<api::VerifyLog, _, _>(&mut router, app, log::verify);
    once::<api::GetStatus, _, _>(&mut router, app, status::status);
    stream::<api::List, _, _>(&mut router, app, list::list);
    stream::<api::Watch, _, _>(&mut router, app, watch::watch);
    stream::<api::ReadLog, _, _>(&mut router, app, log::read);
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
