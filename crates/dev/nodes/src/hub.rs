//! The stand-in for a hub that votes alone: it orders by itself, and serves its log as the product's does.
//!
//! What decides is the product's state machine, and what it signs is signed with a real key. Its log lies in a file, so that it
//! outlives a life of the daemon under test. Deliberately not here: Raft, rights, members; those have tests of their own.

mod log;
mod serve;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_base::{Failure, Name, Uid};
use acp_core_cdb::State;
use acp_io_daemon::Router;
use acp_io_pki::CheckpointKey;
use acp_wire_api::{
    Empty, Interface, Method,
    cluster::{Checkpoint, ControllerKey, FollowReply},
    hub::{
        Follow, Found, FoundReply, FoundRequest, GetQuorum, Propose, ProposeReply, Proposed, QuorumStatus, ReadIndex,
        ReadIndexReply, Retire,
    },
};
use acp_wire_model::entry::Action;
use tokio::sync::watch;

use self::log::Log;

/// What a test does to replies on their way; none does not reach the follower.
type Tamper = Box<dyn FnMut(FollowReply) -> Option<FollowReply> + Send>;

/// A hub of one. Cheap to clone; clones are the same hub.
#[derive(Clone)]
pub struct HubStandIn {
    shared: Arc<Shared>,
}

struct Shared {
    log: Mutex<Log>,
    key: CheckpointKey,
    /// Why it orders nothing; empty when it does.
    degraded: Mutex<String>,
    tamper: Mutex<Option<Tamper>>,
    /// Counts what followers have to look at.
    changes: watch::Sender<u64>,
}

impl std::fmt::Debug for HubStandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubStandIn").finish_non_exhaustive()
    }
}

impl HubStandIn {
    /// A hub with the log that lies in this directory; an empty one has none.
    ///
    /// # Panics
    /// If the directory cannot be used.
    pub fn open(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let key = CheckpointKey::ensure(&directory.join("checkpoint.key")).expect("a key");
        let shared = Shared {
            log: Mutex::new(Log::open(&directory.join("stand-in.log"))),
            key,
            degraded: Mutex::default(),
            tamper: Mutex::default(),
            changes: watch::Sender::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What it answers.
    pub fn interfaces() -> Vec<Interface> {
        let mut interface = acp_wire_api::hub::interface();
        let names = [Found::NAME, Retire::NAME, Propose::NAME, ReadIndex::NAME, Follow::NAME, GetQuorum::NAME];
        interface.methods.retain(|method| names.contains(&method.name));
        vec![interface]
    }

    /// The methods that it answers.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        let hub = self.clone();
        router.once::<Found, _, _>(move |call| std::future::ready(hub.found(call.request)));
        let hub = self.clone();
        router.once::<Retire, _, _>(move |_call| {
            hub.log().forget();
            hub.changed();
            std::future::ready(Ok(Empty {}))
        });
        let hub = self.clone();
        router.once::<Propose, _, _>(move |call| {
            let outcomes = call.request.entries.into_iter().map(|proposal| {
                let action = serde_json::from_value(proposal.action);
                match action {
                    Ok(action) => hub.order(&proposal.actor, &proposal.request, action),
                    Err(error) => Ok(malformed(&error)),
                }
            });
            let outcomes: Result<Vec<_>, _> = outcomes.collect();
            std::future::ready(outcomes.map(|outcomes| ProposeReply { outcomes }))
        });
        let hub = self.clone();
        router.once::<ReadIndex, _, _>(move |_call| {
            let index = hub.orders().map(|()| ReadIndexReply { index: hub.log().state().index() });
            std::future::ready(index)
        });
        let hub = self.clone();
        router.once::<GetQuorum, _, _>(move |_call| std::future::ready(hub.quorum()));
        let hub = self.clone();
        router.stream::<Follow, _, _>(move |call, sink| serve::follow(hub.clone(), call.request, sink));
        router
    }

    /// The public half of the key that it signs with.
    pub fn controller(&self, uid: Uid, name: &Name) -> ControllerKey {
        ControllerKey { uid, name: name.clone(), key: self.shared.key.public() }
    }

    /// What it has applied.
    pub fn state(&self) -> State {
        self.log().state().clone()
    }

    /// Has an action ordered.
    ///
    /// # Errors
    /// While it is degraded, or has no log.
    pub fn order(&self, actor: &str, request: &str, action: Action) -> Result<Proposed, Failure> {
        self.orders()?;
        let outcome = self.log().order(actor, request, action)?;
        self.changed();
        Ok(outcome)
    }

    /// Begins a log, as the method `Found` does.
    ///
    /// # Errors
    /// For an image that is none.
    pub fn begin(&self, request: FoundRequest) -> Result<FoundReply, Failure> {
        self.found(request)
    }

    /// Begins a log with this state, as a recovery does.
    ///
    /// # Panics
    /// If the state is of no cluster.
    pub fn begin_with(&self, state: &State) {
        let image = state.image().expect("a state of a cluster").encode();
        self.log().begin(image).expect("its own image is readable");
        self.changed();
    }

    /// Forgets the entries up to here, so that whoever is behind needs a snapshot.
    ///
    /// # Panics
    /// If there is no log.
    pub fn compact(&self) {
        let state = self.state();
        self.begin_with(&state);
    }

    /// Orders nothing from now on, and says why; or, with an empty reason, does again.
    pub fn degrade(&self, reason: &str) {
        reason.clone_into(&mut self.shared.degraded.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed();
    }

    /// Puts this in the way of every reply to a follower.
    pub fn tamper(&self, tamper: impl FnMut(FollowReply) -> Option<FollowReply> + Send + 'static) {
        *self.shared.tamper.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tamper));
        self.changed();
    }

    /// Signs this position as a controller.
    ///
    /// # Panics
    /// If signing fails.
    pub fn sign(&self, unsigned: Checkpoint) -> Checkpoint {
        let message = acp_core_cdb::checkpoint_message(&unsigned);
        let signature = self.shared.key.sign(&message).expect("a signature");
        Checkpoint { signature, ..unsigned }
    }

    fn found(&self, request: FoundRequest) -> Result<FoundReply, Failure> {
        let mut log = self.log();
        match request.image {
            _ if log.state().identity().is_some() => {}
            Some(image) => {
                let image = acp_base::from_base64(&image).ok_or_else(|| Failure::invalid("image: no base64"))?;
                log.begin(image)?;
            }
            None => log.found(request.node, &request.name)?,
        }
        let identity = log.state().identity().cloned().ok_or_else(no_log)?;
        let epoch = log.state().epoch().map(|epoch| epoch.to_string()).unwrap_or_default();
        drop(log);
        self.changed();
        let controllers = vec![self.controller(request.node, &request.name)];
        Ok(FoundReply { cluster: identity.cluster, epoch, controllers })
    }

    fn quorum(&self) -> Result<QuorumStatus, Failure> {
        let log = self.log();
        let identity = log.state().identity().ok_or_else(no_log)?;
        Ok(QuorumStatus {
            node: identity.node_name.clone(),
            epoch: log.state().epoch().map(|epoch| epoch.to_string()).unwrap_or_default(),
            term: 1,
            leader: Some(identity.node_name.clone()),
            degraded: self.reason(),
            applied: log.state().index(),
            wanted: 1,
            voters: Vec::new(),
        })
    }

    fn orders(&self) -> Result<(), Failure> {
        let reason = self.reason();
        if reason.is_empty() { Ok(()) } else { Err(Failure::unavailable(reason)) }
    }

    fn reason(&self) -> String {
        self.shared.degraded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn changed(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_log() -> Failure {
    Failure::precondition("this hub has no part in any log")
}

fn malformed(error: &serde_json::Error) -> Proposed {
    Proposed { index: 0, code: Some("InvalidArgument".to_owned()), refused: Some(error.to_string()) }
}
