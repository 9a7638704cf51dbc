//! A hub for the tests: a real authority and a directory, without the rules of a real one. Several hosts can have one: they
//! share the directory, and each can fall silent, say that it can do nothing, or show a directory of its own.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use acp_base::{Failure, Name, Uid};
use acp_io_daemon::{Call, Caller, Context, Router, Sink, new_uid, wall_now};
use acp_io_pki::{Authority, Fingerprint, Request, Validity};
use acp_wire_api::{
    Empty, Scope,
    hub::{
        self as api, Admitted, Certified, Cluster, Directory, JoinAnswer, JoinOutcome, JoinPlan, Key, Member, Newcomer,
        Role, WatchDirectoryReply,
    },
    principal::PrincipalKind,
};
use rustls::pki_types::UnixTime;
use tokio::sync::watch;

use crate::world::Host;

/// How long the certificates of these tests count unless a test says something else.
const LIFE: Duration = Duration::from_secs(48 * 3600);

/// The hub of one cluster, as one host has it.
#[derive(Clone, Debug)]
pub(crate) struct Hub(Arc<Inner>, Arc<View>);

/// What is particular to one host's hub.
#[derive(Debug, Default)]
struct View {
    /// Whose it is; absent: the first controller's.
    node: Mutex<Option<Uid>>,
    /// What it shows instead of the newest directory.
    shown: Mutex<Option<Directory>>,
    degraded: Mutex<String>,
    is_silent: AtomicBool,
    /// Nodes that watch here.
    watching: Mutex<BTreeMap<Uid, usize>>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    news: watch::Sender<u64>,
    authority: tempfile::TempDir,
    /// Who asked for a renewal.
    renewals: Mutex<Vec<PrincipalKind>>,
}

#[derive(Debug)]
struct State {
    directory: Option<Directory>,
    tokens: Vec<String>,
    life: Duration,
    /// How far its clock is ahead.
    ahead: Duration,
    decision: Option<JoinOutcome>,
    brought: Vec<Vec<Name>>,
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
        let state = State {
            directory: None,
            tokens: Vec::new(),
            life: LIFE,
            ahead: Duration::ZERO,
            decision: None,
            brought: Vec::new(),
        };
        let inner = Arc::new(Inner {
            state: Mutex::new(state),
            news: watch::Sender::new(0),
            authority: tempfile::tempdir().expect("a directory"),
            renewals: Mutex::default(),
        });
        Self::serve(&inner, View::default(), directory)
    }

    fn serve(inner: &Arc<Inner>, view: View, directory: &Path) -> Self {
        let hub = Self(Arc::clone(inner), Arc::new(view));
        let context = Context::for_test("hub", directory, vec![]);
        context.serve(hub.router()).expect("served");
        hub
    }

    /// Makes this host a controller, whose hub takes the place of the one that it had.
    pub(crate) fn promote(&self, host: &mut Host, node: Uid) {
        host.hub =
            Self::serve(&self.0, View { node: Mutex::new(Some(node)), ..View::default() }, host.directory.path());
        self.change(|directory| {
            let member = directory.nodes.iter_mut().find(|member| member.uid == node).expect("a member");
            member.controller = true;
            member.checkpoint_key = "cc".repeat(32);
        });
    }

    /// From now on it says nothing, to whoever watches or begins to.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.1.is_silent.store(is_silent, Ordering::SeqCst);
        self.0.news.send_modify(|_news| {});
    }

    /// From now on it says that it can do nothing.
    pub(crate) fn degrade(&self, why: &str) {
        why.clone_into(&mut self.1.degraded.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.news.send_modify(|_news| {});
    }

    /// Shows this directory, whatever the newest one is.
    pub(crate) fn show(&self, directory: Option<Directory>) {
        *self.1.shown.lock().unwrap_or_else(PoisonError::into_inner) = directory;
        self.0.news.send_modify(|_news| {});
    }

    /// Begins another epoch, in which directories are counted anew.
    pub(crate) fn begin_epoch(&self, epoch: &str) {
        self.change(|directory| {
            epoch.clone_into(&mut directory.epoch);
            directory.revision = 0;
        });
    }

    /// What becomes of the requests to join; absent: they wait.
    pub(crate) fn decide(&self, outcome: Option<JoinOutcome>) {
        self.lock().decision = outcome;
        self.0.news.send_modify(|_news| {});
    }

    /// The systems that each node named when it was admitted.
    pub(crate) fn brought(&self) -> Vec<Vec<Name>> {
        self.lock().brought.clone()
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

    /// Gives a role to these nodes alone.
    pub(crate) fn assign(&self, role: &str, units: &[&str], nodes: &[&str]) {
        let names = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a name")).collect();
        let role = Role { name: role.parse().expect("a name"), units: names(units), nodes: names(nodes) };
        self.change(|directory| {
            directory.roles.retain(|other| other.name != role.name);
            directory.roles.push(role);
        });
    }

    /// Gives a node another name, wherever it is named.
    pub(crate) fn rename(&self, name: &str, to: &str) {
        let to: Name = to.parse().expect("a name");
        self.change(|directory| {
            let named = directory.nodes.iter_mut().map(|node| &mut node.name);
            let of_roles = directory.roles.iter_mut().flat_map(|role| &mut role.nodes);
            named.chain(of_roles).filter(|named| named.as_str() == name).for_each(|named| *named = to.clone());
        });
    }

    /// From now on certificates count for so long.
    pub(crate) fn set_life(&self, life: Duration) {
        self.lock().life = life;
    }

    /// From now on the clock by which it signs is so far ahead.
    pub(crate) fn set_ahead(&self, ahead: Duration) {
        self.lock().ahead = ahead;
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
        self.1.watching.lock().unwrap_or_else(PoisonError::into_inner).get(&node).is_some_and(|count| *count > 0)
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
        router.once::<api::Readdress, _, _>(move |call| std::future::ready(hub.readdress(&call)));
        let hub = self.clone();
        router.stream::<api::RequestJoin, _, _>(move |call, sink| hub.clone().request(call, sink));
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
        let (epoch, roles) = ("1-aaaa".to_owned(), vec![]);
        state.directory = Some(Directory { cluster, revision: 0, authority, nodes, removed, keys, epoch, roles });
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
            checkpoint_key: if controller { "cc".repeat(32) } else { String::new() },
            parked: false,
            roles: vec![],
            metadata: api::Metadata::default(),
            domain: None,
            joined_ms: wall_now().0,
        };
        self.lock().brought.push(node.systems.clone());
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
        let validity = {
            let state = self.lock();
            let now = Duration::from_secs(UnixTime::now().as_secs()) + state.ahead;
            Validity { now: UnixTime::since_unix_epoch(now), life: state.life }
        };
        hexadecimal(&self.authority().sign(request, node, validity).expect("signed").der)
    }

    /// The node that calls: as itself, or the hub's own.
    fn caller(&self, caller: &Caller) -> Uid {
        let here = *self.1.node.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || self.directory().nodes.iter().find(|member| member.controller).map(|member| member.uid);
        let own = || here.or_else(first);
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

    fn readdress(&self, call: &Call<api::Readdress>) -> Result<Empty, Failure> {
        let node = self.caller(&call.caller);
        self.change(|directory| {
            let member = directory.nodes.iter_mut().find(|member| member.uid == node).expect("a member");
            member.address.clone_from(&call.request.address);
        });
        Ok(Empty {})
    }

    async fn request(self, call: Call<api::RequestJoin>, sink: Sink<api::RequestJoin>) -> Result<JoinAnswer, Failure> {
        let kind = call.caller.principal().map(|principal| principal.kind);
        assert_eq!(kind, Some(PrincipalKind::Newcomer), "a newcomer calls");
        let request = call.request.node.uid;
        let answer = |outcome, admitted| JoinAnswer { outcome, request, admitted };
        sink.send(answer(JoinOutcome::Waiting, None)).await?;
        let mut news = self.0.news.subscribe();
        let deciding = async {
            loop {
                news.borrow_and_update();
                if self.1.is_silent.load(Ordering::SeqCst) {
                    return Err(Failure::unavailable("the leader has changed"));
                }
                let decision = self.lock().decision;
                if let Some(outcome) = decision {
                    return Ok(outcome);
                }
                news.changed().await.expect("the hub lives");
            }
        };
        let wait = Duration::from_millis(call.request.wait_ms);
        let outcome = tokio::time::timeout(wait, deciding).await.unwrap_or(Ok(JoinOutcome::Unanswered))?;
        let admitted = match outcome {
            JoinOutcome::Admitted | JoinOutcome::AlreadyJoined => Some(self.admit(&call.request.node, false)?),
            _ => None,
        };
        Ok(answer(outcome, admitted))
    }

    async fn watch(
        self,
        call: Call<api::WatchDirectory>,
        sink: Sink<api::WatchDirectory>,
    ) -> Result<WatchDirectoryReply, Failure> {
        let node = self.caller(&call.caller);
        let _presence = Presence::of(&self, node);
        let (mut news, mut known) = (self.0.news.subscribe(), (call.request.epoch, call.request.known));
        loop {
            news.borrow_and_update();
            let shown = self.1.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let directory = shown.unwrap_or_else(|| self.directory());
            let is_new = (directory.epoch.clone(), Some(directory.revision)) != known;
            known = (directory.epoch.clone(), Some(directory.revision));
            let degraded = self.1.degraded.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if !self.1.is_silent.load(Ordering::SeqCst) {
                sink.send(WatchDirectoryReply { directory: is_new.then_some(directory), degraded }).await?;
            }
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
        *hub.1.watching.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default() += 1;
        Self(hub.clone(), node)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut watching = self.0.1.watching.lock().unwrap_or_else(PoisonError::into_inner);
        *watching.entry(self.1).or_default() -= 1;
    }
}
