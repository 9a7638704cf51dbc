//! Which controller this node turns to: its own hub if it is a controller, else the one that a hash of both ids gives it, so
//! that the nodes spread over them; those that have failed lately come last.
//!
//! **Invariant**: every controller that the directory names is in the order, so that the last one left is found, too.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use acp_base::Uid;
use acp_wire_api::hub::{self, Directory};

use crate::limits::{ARRIVAL_MAX, SHUN};

/// What is remembered of the controllers.
#[derive(Debug, Default)]
pub(crate) struct Controllers {
    /// Until when each of them comes last. As many as there are controllers, since others are forgotten.
    shunned: Mutex<BTreeMap<Uid, Instant>>,
    /// With whom this node's session is.
    heard: Mutex<Option<Uid>>,
}

impl Controllers {
    /// The controllers of this directory, the one to be asked first in front.
    pub(crate) fn order(&self, directory: &Directory, me: Uid) -> Vec<hub::Member> {
        let mut controllers: Vec<hub::Member> =
            directory.nodes.iter().filter(|node| node.controller).cloned().collect();
        let (mut shunned, now) = (self.lock(), Instant::now());
        shunned.retain(|uid, until| now < *until && controllers.iter().any(|node| node.uid == *uid));
        controllers.sort_by_cached_key(|node| {
            (shunned.contains_key(&node.uid), node.uid != me, distance(me, node.uid), node.uid)
        });
        controllers
    }

    /// It did not answer, or says that it can do nothing: others are asked first for a while.
    pub(crate) fn failed(&self, uid: Uid) {
        self.lock().insert(uid, Instant::now() + SHUN);
    }

    /// Those that have just become controllers come last for a while: the log has yet to arrive at their hubs.
    pub(crate) fn appointed(&self, before: &Directory, after: &Directory) {
        let was = |uid| before.nodes.iter().any(|node| node.uid == uid && node.controller);
        let new = after.nodes.iter().filter(|node| node.controller && !was(node.uid));
        self.lock().extend(new.map(|node| (node.uid, Instant::now() + ARRIVAL_MAX)));
    }

    /// It is there.
    pub(crate) fn came(&self, uid: Uid) {
        self.lock().remove(&uid);
    }

    /// This node's session is with this one, or with none.
    pub(crate) fn hears(&self, uid: Option<Uid>) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = uid;
    }

    /// Whether this node's session is with this one.
    pub(crate) fn is_heard(&self, uid: Uid) -> bool {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) == Some(uid)
    }

    /// Whether it has failed lately.
    pub(crate) fn is_shunned(&self, uid: Uid) -> bool {
        self.lock().get(&uid).is_some_and(|until| Instant::now() < *until)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Instant>> {
        self.shunned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for a node and a controller as long as the agent is the same; nobody else has to come to the same.
fn distance(me: Uid, controller: Uid) -> u64 {
    let mut hasher = DefaultHasher::new();
    (me.as_u128(), controller.as_u128()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use acp_wire_api::hub::Cluster;

    use super::*;

    fn directory(nodes: u128, controllers: u128) -> Directory {
        let node = |number| hub::Member {
            uid: Uid::from_u128(number),
            name: format!("n{number}").parse().expect("a name"),
            address: String::new(),
            fingerprint: String::new(),
            controller: number <= controllers,
            checkpoint_key: String::new(),
            parked: false,
            roles: vec![],
            metadata: hub::Metadata::default(),
            domain: None,
            joined_ms: 0,
        };
        Directory {
            cluster: Cluster { uid: Uid::from_u128(77), name: "c".parse().expect("a name") },
            revision: 1,
            authority: String::new(),
            nodes: (1..=nodes).map(node).collect(),
            removed: vec![],
            keys: vec![],
            epoch: String::new(),
            roles: vec![],
        }
    }

    fn first(known: &Controllers, directory: &Directory, me: u128) -> Uid {
        known.order(directory, Uid::from_u128(me))[0].uid
    }

    #[test]
    fn a_controller_asks_itself_and_the_others_spread() {
        let (known, directory) = (Controllers::default(), directory(200, 5));
        for me in 1..=5 {
            assert_eq!(first(&known, &directory, me), Uid::from_u128(me));
        }
        let mut nodes = BTreeMap::<Uid, usize>::new();
        for me in 6..=200 {
            let order = known.order(&directory, Uid::from_u128(me));
            assert_eq!(order.iter().map(|node| node.uid).collect::<BTreeSet<_>>().len(), 5, "each is in it");
            assert_eq!(order[0].uid, first(&known, &directory, me), "it is sticky");
            *nodes.entry(order[0].uid).or_default() += 1;
        }
        assert!(nodes.len() == 5 && nodes.values().all(|count| (20..=60).contains(count)), "{nodes:?}");
    }

    #[test]
    fn whoever_has_failed_comes_last_until_it_has_come_again() {
        let (known, directory) = (Controllers::default(), directory(9, 3));
        let preferred = first(&known, &directory, 9);
        known.failed(preferred);
        let order = known.order(&directory, Uid::from_u128(9));
        assert!(order.len() == 3 && order[2].uid == preferred && known.is_shunned(preferred), "{order:?}");
        known.came(preferred);
        assert_eq!(first(&known, &directory, 9), preferred);
        // This node's own hub is no exception.
        known.failed(Uid::from_u128(1));
        assert_ne!(first(&known, &directory, 1), Uid::from_u128(1));
    }

    #[test]
    fn whoever_has_just_become_a_controller_comes_last() {
        let (known, before, after) = (Controllers::default(), directory(9, 1), directory(9, 3));
        known.appointed(&before, &after);
        for me in 1..=9 {
            assert_eq!(first(&known, &after, me), Uid::from_u128(1), "node {me}");
        }
        known.came(Uid::from_u128(2));
        assert_eq!(first(&known, &after, 2), Uid::from_u128(2), "its own hub has spoken");
    }
}
