//! This node: what stays the same whatever cluster it is in, and the membership that it has now.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use acp_base::{Name, Uid};
use acp_io_daemon::{Context, Health};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    config::Config,
    database, door, hub_session,
    identity::Identity,
    member::{Member, MemberError},
    persist::{Record, Store},
    refused::Refused,
    renewal, reverse, tidy,
};

/// What every part of the agent has at hand.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) context: Context,
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) store: Store,
    pub(crate) refused: Refused,
    pub(crate) troubles: Troubles,
    /// Held while the membership changes: one at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// The id with which the next membership begins, as the cluster service has said it last.
    uid: Mutex<Uid>,
    member: watch::Sender<Option<Arc<Member>>>,
}

impl Node {
    pub(crate) fn new(context: Context, config: Config, identity: Identity) -> Self {
        Self {
            uid: Mutex::new(Uid::from_u128(0)),
            store: Store::new(&context.paths.state),
            troubles: Troubles::new(context.health.clone()),
            context,
            config,
            identity,
            refused: Refused::default(),
            changing: tokio::sync::Mutex::default(),
            member: watch::Sender::new(None),
        }
    }

    /// The membership now; nothing while the node is on its own.
    pub(crate) fn member(&self) -> Option<Arc<Member>> {
        self.member.borrow().clone()
    }

    /// Follows the membership.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<Member>>> {
        self.member.subscribe()
    }

    /// Which node this is while it is in no cluster.
    pub(crate) fn uid(&self) -> Uid {
        *self.uid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster service has said which node this is.
    pub(crate) fn identify(&self, uid: Uid) {
        *self.uid.lock().unwrap_or_else(PoisonError::into_inner) = uid;
    }

    /// This node's name: as a member, what the members call it, who may have renamed it since it was started.
    pub(crate) fn name(&self) -> Name {
        let renamed = self.member().and_then(|member| member.of(member.me));
        renamed.map_or_else(|| self.context.node.clone(), |own| own.name)
    }

    /// Begins a membership: the door opens, and the control plane is told that this node is there.
    pub(crate) fn begin(
        self: &Arc<Self>,
        record: Record,
        listener: Option<TcpListener>,
    ) -> Result<Arc<Member>, MemberError> {
        let member = Member::new(&self.identity.key, self.store.clone(), record)?;
        let member = Arc::new(member);
        self.member.send_replace(Some(Arc::clone(&member)));
        self.run(&member, "door", door::run(Arc::clone(self), Arc::clone(&member), listener));
        self.run(&member, "hub session", hub_session::run(Arc::clone(self), Arc::clone(&member)));
        self.run(&member, "database", database::keep_entering(Arc::clone(self), Arc::clone(&member)));
        self.run(&member, "reverse link", reverse::run(Arc::clone(self), Arc::clone(&member)));
        self.run(&member, "renewal", renewal::run(Arc::clone(self), Arc::clone(&member)));
        self.run(&member, "tidy", tidy::run(Arc::clone(self), Arc::clone(&member)));
        tracing::info!(cluster = %member.cluster.name, address = member.address, "a member");
        Ok(member)
    }

    /// The node is on its own again.
    pub(crate) fn end(&self) {
        self.member.send_replace(None);
        self.troubles.clear();
    }

    /// Runs until it ends, the agent ends, or the membership does.
    fn run(&self, member: &Arc<Member>, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let (drain, left) = (self.context.drain.clone(), member.left.clone());
        self.context.tasks.spawn(name, async move {
            tokio::select! {
                () = drain.cancelled() => {}
                () = left.cancelled() => {}
                () = work => {}
            }
        });
    }
}

/// What the node lacks, said as its health: each part of it says its own.
#[derive(Debug)]
pub(crate) struct Troubles {
    known: Mutex<BTreeMap<&'static str, String>>,
    health: Health,
}

impl Troubles {
    fn new(health: Health) -> Self {
        Self { known: Mutex::default(), health }
    }

    /// Says what is wrong with this part, or that nothing is.
    pub(crate) fn set(&self, part: &'static str, trouble: Option<String>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => known.insert(part, trouble),
            None => known.remove(part),
        };
        self.health.degrade(known.values().cloned().collect::<Vec<_>>().join("; "));
    }

    fn clear(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.health.ok();
    }
}
