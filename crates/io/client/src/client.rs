//! The client: services by name, on this node or another, with connections kept for reuse.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use acp_base::Name;
use tokio::sync::OnceCell;

use crate::{
    CallTrace, ServiceClient,
    idle::Idle,
    route::{Key, Route, Secret},
    trace::Sink,
};

/// Calls services by name. Cheap to clone; clones share their idle connections.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    request_id: Option<Arc<str>>,
    node: Option<Name>,
    key: Option<Key>,
    pub(crate) sink: Option<Sink>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) run_dir: PathBuf,
    pub(crate) idle: Idle,
    /// This node's name, once it is known.
    here: OnceLock<Name>,
    /// Where the key of this node's root lies, once it was asked for.
    pub(crate) root_key_path: OnceCell<PathBuf>,
    next_id: AtomicU64,
}

impl Shared {
    pub(crate) fn here(&self) -> Option<&Name> {
        self.here.get()
    }

    pub(crate) fn set_here(&self, node: Name) {
        self.here.get_or_init(|| node);
    }
}

impl Client {
    /// A client of the sockets in `run_dir`, with the caller's own rights. Connects when it is used.
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        let shared = Shared {
            run_dir: run_dir.into(),
            idle: Idle::default(),
            here: OnceLock::new(),
            root_key_path: OnceCell::new(),
            next_id: AtomicU64::new(1),
        };
        Self { shared: Arc::new(shared), request_id: None, node: None, key: None, sink: None }
    }

    /// The same client, whose calls carry this request id.
    #[must_use]
    pub fn with_request_id(&self, id: &str) -> Self {
        Self { request_id: Some(id.into()), ..self.clone() }
    }

    /// The same client, whose calls are executed on this node; `None`: on the one it is used on, and by a service that the
    /// cluster has once wherever that is.
    #[must_use]
    pub fn on(&self, node: Option<&Name>) -> Self {
        Self { node: node.cloned(), ..self.clone() }
    }

    /// The same client, whose calls have the rights of the API key with this secret, on this node, too.
    #[must_use]
    pub fn with_key(&self, secret: &str) -> Self {
        Self { key: Some(Key::Always(Secret::new(secret))), ..self.clone() }
    }

    /// The same client, whose calls have the rights of root's key on other nodes, and the caller's own on this one. That key is
    /// the one that joining the cluster has left on this node; a caller who may not read it calls as the node, which may
    /// little.
    #[must_use]
    pub fn with_root_key(&self) -> Self {
        Self { key: Some(Key::RootElsewhere), ..self.clone() }
    }

    /// The same client, which tells of every call that was answered, and of the way it took.
    #[must_use]
    pub fn tracing(&self, sink: impl Fn(CallTrace) + Send + Sync + 'static) -> Self {
        Self { sink: Some(Sink::new(sink)), ..self.clone() }
    }

    /// The directory of the sockets.
    pub fn run_dir(&self) -> &Path {
        &self.shared.run_dir
    }

    /// The service of this noun; on this node its socket is `<run>/<noun>.sock`.
    pub fn service(&self, noun: &str) -> ServiceClient {
        self.along(noun, None)
    }

    /// One instance of a service that has many; on this node its socket is `<run>/<noun>/<instance>.sock`.
    pub fn instance(&self, noun: &str, instance: &str) -> ServiceClient {
        self.along(noun, Some(instance.to_owned()))
    }

    /// The daemon of this noun at its socket on this node, whichever node is chosen and although the cluster may have another
    /// one in its place: for questions about itself, with the caller's own rights.
    pub fn own(&self, noun: &str) -> ServiceClient {
        let service = noun.to_owned();
        let route = Route { service, instance: None, node: None, key: None, bulk: false, own: true };
        ServiceClient::new(self.clone(), route)
    }

    fn along(&self, noun: &str, instance: Option<String>) -> ServiceClient {
        let (service, node, key) = (noun.to_owned(), self.node.clone(), self.key.clone());
        ServiceClient::new(self.clone(), Route { service, instance, node, key, bulk: false, own: false })
    }

    /// A number for the next call, by which [`Self::request_id`] names it.
    pub(crate) fn next_number(&self) -> u64 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn request_id(&self, number: u64) -> String {
        match &self.request_id {
            Some(id) => id.to_string(),
            None => format!("{:x}-{number:x}", std::process::id()),
        }
    }
}
