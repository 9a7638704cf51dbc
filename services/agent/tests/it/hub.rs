//! A hub for the tests: a real authority and a directory, without the rules of a real one.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_base::{Failure, Uid};
use acp_io_daemon::{Call, Caller, Context, Router, Sink, new_uid, wall_now};
use acp_io_pki::{Authority, Fingerprint, Request, Validity};
use acp_wire_api::{
    Empty, Scope,
    hub::{self as api, Admitted, Certified, Cluster, Directory, JoinPlan, Key, Member, Newcomer, WatchDirectoryReply},
    principal::PrincipalKind,
};
use rustls::pki_types::UnixTime;
use tokio::sync::watch;

/// How long the certificates of these tests count unless a test says something else.
const LIFE: Duration = Duration::from_secs(48 * 3600);

/// The hub of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    news: watch::Sender<u64>,
    /// Nodes that watch now.
    pub(crate) watching: Mutex<BTreeMap<Uid, usize>>,
    authority: tempfile::TempDir,
    /// Who asked for a renewal.
    renewals: Mutex<Vec<PrincipalKind>>,
}

#[derive(Debug)]
struct State {
    directory: Option<Directory>,
    tokens: Vec<String>,
    life: Duration,
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// A fresh secret of 64 hexadecimal digits.
pub(crate) fn secret() -> String {
    Fingerprint::of(new_uid().to_string().as_bytes()).to_string()
}

impl Hub {
    /// A hub at `<directory>/hub.sock`.
    pub(crate) fn start(directory: &Path) -> Self {
        let state = State { directory: None, tokens: Vec::new(), life: LIFE };
        let hub = Self(Arc::new(Inner {
            state: Mutex::new(state),
            news: watch::Sender::new(0),
            watching: Mutex::default(),
            authority: tempfile::tempdir().expect("a directory"),
            renewals: Mutex::default(),
        }));
        let context = Context::for_test("hub", directory, vec![]);
        context.serve(hub.router()).expect("served");
        hub
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn directory(&self) -> Directory {
        self.lock().directory.clone().expect("there is a cluster")
    }

    fn change(&self, change: impl FnOnce(&mut Directory)) {
        let mut state = self.lock();
        let directory = state.directory.as_mut().expect("there is a cluster");
        change(directory);
        directory.revision += 1;
        let revision = directory.revision;
        drop(state);
        self.0.news.send_replace(revision);
    }

    /// From now on certificates count for so long.
    pub(crate) fn set_life(&self, life: Duration) {
        self.lock().life = life;
    }

    /// A new key; answers its secret.
    pub(crate) fn key(&self, name: &str, scope: Scope, expires_ms: Option<u64>) -> String {
        let text = format!("acpk.{}", secret());
        let hash = Fingerprint::of(text.as_bytes()).to_string();
        let key = Key { uid: new_uid(), name: name.to_owned(), hash, scope, created_ms: wall_now().0, expires_ms };
        self.change(|directory| directory.keys.push(key));
        text
    }

    pub(crate) fn revoke_key(&self, name: &str) {
        self.change(|directory| directory.keys.retain(|key| key.name != name));
    }

    pub(crate) fn token(&self) -> String {
        let secret = secret();
        self.lock().tokens.push(secret.clone());
        format!("acpt.{}.{secret}", self.authority().fingerprint())
    }

    pub(crate) fn remove(&self, node: Uid) {
        self.change(|directory| {
            directory.nodes.retain(|member| member.uid != node);
            directory.removed.push(node);
        });
    }

    pub(crate) fn is_watching(&self, node: Uid) -> bool {
        self.0.watching.lock().unwrap_or_else(PoisonError::into_inner).get(&node).is_some_and(|count| *count > 0)
    }

    pub(crate) fn renewals(&self) -> Vec<PrincipalKind> {
        self.0.renewals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn authority(&self) -> Authority {
        let cluster = self.lock().directory.as_ref().map(|directory| directory.cluster.uid);
        self.authority_of(cluster.expect("there is a cluster"))
    }

    fn authority_of(&self, cluster: Uid) -> Authority {
        Authority::ensure(self.0.authority.path(), cluster, UnixTime::now()).expect("an authority")
    }

    fn router(&self) -> Router {
        let mut router = Router::new();
        let hub = self.clone();
        router.once::<api::InitCluster, _, _>(move |call| std::future::ready(hub.init(call.request)));
        let hub = self.clone();
        router.once::<api::Join, _, _>(move |call| std::future::ready(hub.join(&call)));
        let hub = self.clone();
        router.once::<api::PlanJoin, _, _>(move |call| std::future::ready(hub.plan(&call.request)));
        let hub = self.clone();
        router.once::<api::RenewCertificate, _, _>(move |call| std::future::ready(hub.renew(&call)));
        let hub = self.clone();
        router.once::<api::Leave, _, _>(move |call| std::future::ready(hub.leave(&call.caller)));
        let hub = self.clone();
        router.stream::<api::WatchDirectory, _, _>(move |call, sink| hub.clone().watch(call, sink));
        router
    }

    fn init(&self, request: api::InitClusterRequest) -> Result<Admitted, Failure> {
        let mut state = self.lock();
        if state.directory.is_some() {
            return Err(Failure::precondition("there is a cluster here already"));
        }
        let cluster = Cluster { uid: new_uid(), name: request.cluster };
        let authority = hexadecimal(self.authority_of(cluster.uid).certificate());
        let (nodes, removed, keys) = (vec![], vec![], vec![]);
        state.directory = Some(Directory { cluster, revision: 0, authority, nodes, removed, keys });
        drop(state);
        self.admit(&request.node, true)
    }

    fn join(&self, call: &Call<api::Join>) -> Result<Admitted, Failure> {
        let kind = call.caller.principal().map(|principal| principal.kind);
        assert_eq!(kind, Some(PrincipalKind::Newcomer), "a newcomer calls");
        if !self.lock().tokens.contains(&call.request.token) {
            return Err(Failure::new(acp_base::Code::PermissionDenied, "the token is not known"));
        }
        self.admit(&call.request.node, false)
    }

    fn plan(&self, request: &api::JoinRequest) -> Result<JoinPlan, Failure> {
        let directory = self.directory();
        let is_taken = directory.nodes.iter().any(|member| member.name == request.node.name);
        let clashes = if is_taken { vec![format!("there is a node {}", request.node.name)] } else { vec![] };
        let nodes = u64::try_from(directory.nodes.len()).expect("few");
        Ok(JoinPlan { cluster: directory.cluster, nodes, clashes, root_key: request.node.root_key_hash.is_some() })
    }

    fn admit(&self, node: &Newcomer, controller: bool) -> Result<Admitted, Failure> {
        let request = Request::read(bytes(&node.signing_request)).expect("a request");
        let member = Member {
            uid: node.uid,
            name: node.name.clone(),
            address: node.address.clone(),
            fingerprint: request.key().to_string(),
            controller,
            joined_ms: wall_now().0,
        };
        let name = format!("root@{}", node.name);
        let key = node.root_key_hash.clone().map(|hash| Key {
            uid: new_uid(),
            name: name.clone(),
            hash,
            scope: Scope::Admin,
            created_ms: wall_now().0,
            expires_ms: None,
        });
        self.change(|directory| {
            directory.nodes.retain(|member| member.uid != node.uid);
            directory.removed.retain(|removed| *removed != node.uid);
            directory.keys.retain(|key| key.name != name);
            directory.nodes.push(member);
            directory.keys.extend(key);
        });
        Ok(Admitted { certificate: self.sign(&request, node.uid), directory: self.directory() })
    }

    fn sign(&self, request: &Request, node: Uid) -> String {
        let validity = Validity { now: UnixTime::now(), life: self.lock().life };
        hexadecimal(&self.authority().sign(request, node, validity).expect("signed").der)
    }

    /// The node that calls: as itself, or the hub's own.
    fn caller(&self, caller: &Caller) -> Uid {
        let own = || self.directory().nodes.iter().find(|member| member.controller).map(|member| member.uid);
        caller.node().or_else(own).expect("a node calls")
    }

    fn renew(&self, call: &Call<api::RenewCertificate>) -> Result<Certified, Failure> {
        let node = self.caller(&call.caller);
        let request = Request::read(bytes(&call.request.signing_request)).expect("a request");
        let directory = self.directory();
        let member = directory.nodes.iter().find(|member| member.uid == node);
        let member = member.ok_or_else(|| Failure::precondition("no member"))?;
        if member.fingerprint != request.key().to_string() {
            return Err(Failure::precondition("another key"));
        }
        let kind = call.caller.principal().map_or(PrincipalKind::Node, |principal| principal.kind);
        self.0.renewals.lock().unwrap_or_else(PoisonError::into_inner).push(kind);
        Ok(Certified { certificate: self.sign(&request, node) })
    }

    fn leave(&self, caller: &Caller) -> Result<Empty, Failure> {
        let node = self.caller(caller);
        if self.directory().nodes.iter().any(|member| member.uid == node && member.controller) {
            return Err(Failure::precondition("the last controller cannot leave"));
        }
        self.remove(node);
        Ok(Empty {})
    }

    async fn watch(
        self,
        call: Call<api::WatchDirectory>,
        sink: Sink<api::WatchDirectory>,
    ) -> Result<WatchDirectoryReply, Failure> {
        let node = self.caller(&call.caller);
        let _presence = Presence::of(&self, node);
        let (mut news, mut known) = (self.0.news.subscribe(), call.request.known);
        loop {
            news.borrow_and_update();
            let directory = Some(self.directory()).filter(|directory| Some(directory.revision) != known);
            known = directory.as_ref().map(|directory| directory.revision).or(known);
            sink.send(WatchDirectoryReply { directory }).await?;
            if tokio::time::timeout(Duration::from_secs(1), news.changed()).await.is_ok_and(|news| news.is_err()) {
                return Err(Failure::unavailable("the hub ends"));
            }
        }
    }
}

/// A node that watches.
struct Presence(Hub, Uid);

impl Presence {
    fn of(hub: &Hub, node: Uid) -> Self {
        *hub.0.watching.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default() += 1;
        Self(hub.clone(), node)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut watching = self.0.0.watching.lock().unwrap_or_else(PoisonError::into_inner);
        *watching.entry(self.1).or_default() -= 1;
    }
}
