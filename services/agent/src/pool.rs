//! Links to other nodes: one for each node and class, dialled when it is wanted, kept, and replaced when it is gone.
//!
//! **Invariants**: one attempt at a time for each of them, whoever waits, and it goes on when nobody waits any more; after a
//! failed one nobody dials before a pause that grows, and whoever asks meanwhile is told what failed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use acp_base::{Failure, Uid};
use acp_io_daemon::Tasks;
use acp_io_link::{Class, Link, LinkError};
use acp_wire_api::{agent::LinkStatus, hub};
use tokio::sync::{OwnedMutexGuard, oneshot};

use crate::{
    dial::{self, Unreached},
    limits::{LINK_IDLE_MAX, PAUSE_MAX, PAUSE_MIN},
    member::Member,
};

/// The links that this node dials.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    slots: Mutex<BTreeMap<(Uid, Class), Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    standing: Mutex<Option<Standing>>,
    failed: Mutex<Option<Failed>>,
    /// Held while somebody dials.
    dialling: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Debug)]
struct Standing {
    link: Link,
    since: Instant,
    used: Instant,
}

/// What the last attempt came to.
#[derive(Clone, Debug)]
struct Failed {
    error: Unreached,
    pause: Duration,
    again: Instant,
}

/// A link with how it was come by.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) link: Link,
    pub(crate) was_dialled: bool,
}

impl Pool {
    /// The link to this member. If the last attempt to dial it failed and the caller has another way, it is told so and the
    /// next attempt is made beside it.
    pub(crate) async fn link(
        &self,
        member: &Arc<Member>,
        to: &hub::Member,
        class: Class,
        tasks: &Tasks,
        has_other_way: bool,
    ) -> Result<Way, Unreached> {
        let slot = self.slot(to.uid, class);
        if let Some(link) = slot.standing() {
            return Ok(Way { link, was_dialled: false });
        }
        if has_other_way && let Some(failed) = slot.failed() {
            if failed.again <= Instant::now()
                && let Ok(permit) = Arc::clone(&slot.dialling).try_lock_owned()
            {
                // Its failure is remembered for the next caller.
                drop(slot.begin_dialling(permit, member, to, class, tasks));
            }
            return Err(failed.error);
        }
        slot.dial(member, to, class, tasks).await
    }

    /// Gives a link up that has turned out to be of no use.
    pub(crate) fn forget(&self, node: Uid, class: Class) {
        *self.slot(node, class).lock() = None;
    }

    /// Keeps the links to the nodes that are asked for.
    pub(crate) fn retain(&self, keep: impl Fn(Uid) -> bool) {
        self.slots().retain(|(node, _class), _slot| keep(*node));
    }

    /// Closes links that nobody uses.
    pub(crate) fn tidy(&self) {
        for slot in self.slots().values() {
            let mut standing = slot.lock();
            if standing.as_ref().is_some_and(Standing::is_idle) {
                *standing = None;
            }
        }
    }

    /// Every link that stands.
    pub(crate) fn report(&self, name: impl Fn(Uid) -> String) -> Vec<LinkStatus> {
        let of = |(node, class): &(Uid, Class), slot: &Arc<Slot>| {
            let standing = slot.lock().clone().filter(|standing| standing.link.is_open())?;
            Some(LinkStatus {
                node: *node,
                name: name(*node),
                class: dial::word(*class).to_owned(),
                dialled: true,
                conversations: u64::try_from(standing.link.conversations()).unwrap_or(u64::MAX),
                for_ms: crate::millis(standing.since.elapsed()),
            })
        };
        self.slots().iter().filter_map(|(key, slot)| of(key, slot)).collect()
    }

    fn slot(&self, node: Uid, class: Class) -> Arc<Slot> {
        Arc::clone(self.slots().entry((node, class)).or_default())
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<(Uid, Class), Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn is_idle(&self) -> bool {
        !self.link.is_open() || (self.link.conversations() == 0 && self.used.elapsed() >= LINK_IDLE_MAX)
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> Option<Link> {
        let mut standing = self.lock();
        let open = standing.as_mut().filter(|standing| standing.link.is_open())?;
        open.used = Instant::now();
        Some(open.link.clone())
    }

    fn failed(&self) -> Option<Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Dials, unless somebody else has meanwhile, or it has just failed.
    async fn dial(
        self: &Arc<Self>,
        member: &Arc<Member>,
        to: &hub::Member,
        class: Class,
        tasks: &Tasks,
    ) -> Result<Way, Unreached> {
        let permit = Arc::clone(&self.dialling).lock_owned().await;
        if let Some(link) = self.standing() {
            return Ok(Way { link, was_dialled: false });
        }
        if let Some(failed) = self.failed().filter(|failed| failed.again > Instant::now()) {
            return Err(failed.error);
        }
        let dialled = self.begin_dialling(permit, member, to, class, tasks).await;
        dialled.unwrap_or_else(|_ended| Err(Unreached::of(LinkError::Closed, to)))
    }

    /// Dials in a task of its own: whoever stops waiting leaves what comes of it to the next caller.
    fn begin_dialling(
        self: &Arc<Self>,
        permit: OwnedMutexGuard<()>,
        member: &Arc<Member>,
        to: &hub::Member,
        class: Class,
        tasks: &Tasks,
    ) -> oneshot::Receiver<Result<Way, Unreached>> {
        let (dialled, receiver) = oneshot::channel();
        let (slot, member, to, inner) = (Arc::clone(self), Arc::clone(member), to.clone(), tasks.clone());
        tasks.spawn("dial", async move {
            let found = dial::link(&member, &to, class, &inner).await;
            let found = slot.note(found);
            drop(permit);
            drop(dialled.send(found));
        });
        receiver
    }

    /// Keeps the link that was dialled, or what has failed and when it is tried again.
    fn note(&self, dialled: Result<Link, Unreached>) -> Result<Way, Unreached> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match dialled {
            Ok(link) => {
                *failed = None;
                let now = Instant::now();
                *self.lock() = Some(Standing { link: link.clone(), since: now, used: now });
                Ok(Way { link, was_dialled: true })
            }
            Err(error) => {
                let pause = failed.as_ref().map_or(PAUSE_MIN, |failed| (failed.pause * 2).min(PAUSE_MAX));
                *failed = Some(Failed { error: error.clone(), pause, again: Instant::now() + pause });
                Err(error)
            }
        }
    }
}

/// A failure to reach a node.
impl From<Unreached> for Failure {
    fn from(unreached: Unreached) -> Self {
        unreached.failure
    }
}
