//! What those who watch the nodes were told, and what they are told next.
//!
//! **Invariant**: what was told, with the events since, is what is told last: a watcher that applies them has the newest state.
//! Of each watcher one state is kept, and no events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_base::{Failure, Uid};
use acp_core_membership::Filter;
use acp_wire_api::hub::{Directory, Judgement, ListNodesReply, NodeEvent, NodePresence, Verdict, WatchNodesReply};
use tokio::{sync::Mutex, time::Instant};

/// How long the leader's view counts for others who watch here: less than the time between two looks of one of them.
const SHARED_MAX: Duration = Duration::from_millis(400);

/// How long a node that was online is not heard before that is told: longer than it takes a new leader to hear from the other
/// controllers who is connected to them, or a node to connect to another one.
pub(crate) const DOUBT: Duration = Duration::from_millis(1_500);

/// What the control plane takes a member for.
pub(crate) const fn verdict(parked: bool, online: bool) -> Verdict {
    match (parked, online) {
        (true, _) => Verdict::Parked,
        (false, true) => Verdict::Online,
        (false, false) => Verdict::Offline,
    }
}

/// The newest view of the nodes, looked up once for all who watch here.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    seen: Mutex<Option<(Instant, Arc<ListNodesReply>)>>,
}

impl Sight {
    /// The last view if it is new enough and not of an older directory, else what this look finds.
    pub(crate) async fn newest(
        &self,
        revision: u64,
        look: impl Future<Output = Result<ListNodesReply, Failure>> + Send,
    ) -> Result<Arc<ListNodesReply>, Failure> {
        let mut seen = self.seen.lock().await;
        let is_new =
            |(at, nodes): &(Instant, Arc<ListNodesReply>)| at.elapsed() < SHARED_MAX && nodes.revision >= revision;
        if let Some((_, nodes)) = seen.as_ref().filter(|seen| is_new(seen)) {
            return Ok(Arc::clone(nodes));
        }
        let nodes = Arc::new(look.await?);
        *seen = Some((Instant::now(), Arc::clone(&nodes)));
        Ok(nodes)
    }
}

/// What one watcher was told.
#[derive(Debug)]
pub(crate) struct Told {
    filter: Filter,
    /// Who is online by what was told, of all nodes.
    held: BTreeMap<Uid, Held>,
    /// The nodes for which the filter holds; none before the first reply.
    nodes: Option<BTreeMap<Uid, NodePresence>>,
}

#[derive(Debug)]
struct Held {
    online: bool,
    /// Since when it is not heard although it is held for online.
    doubted: Option<Instant>,
    /// What the leader takes it for, by its last word.
    judged: Option<Judgement>,
}

impl Told {
    /// Nothing yet.
    pub(crate) const fn new(filter: Filter) -> Self {
        Self { filter, held: BTreeMap::new(), nodes: None }
    }

    /// The next reply: what differs from the last one.
    pub(crate) fn next(&mut self, seen: &ListNodesReply, directory: &Directory, now: Instant) -> WatchNodesReply {
        let is_leaders = seen.age_ms == 0;
        let (mut held, mut nodes) = (std::mem::take(&mut self.held), BTreeMap::new());
        for node in &seen.nodes {
            let node = self.settle(node, held.remove(&node.node.uid), is_leaders, now);
            if self.filter.holds(&node, directory) {
                nodes.insert(node.node.uid, node);
            }
        }
        let events = NodeEvent::between(self.nodes.as_ref().unwrap_or(&BTreeMap::new()), &nodes);
        let current = self.nodes.replace(nodes).is_none();
        let (age_ms, degraded) = (seen.age_ms, seen.degraded.clone());
        WatchNodesReply { revision: seen.revision, current, events, age_ms, degraded }
    }

    /// The node with what is held of its presence. A hub that does not lead knows too little to take one for gone.
    fn settle(&mut self, node: &NodePresence, held: Option<Held>, is_leaders: bool, now: Instant) -> NodePresence {
        let mut held = held.unwrap_or(Held { online: node.online, doubted: None, judged: None });
        if is_leaders {
            held.judged.clone_from(&node.judged);
        }
        if node.online {
            (held.online, held.doubted) = (true, None);
        } else if held.online && is_leaders {
            let doubted = *held.doubted.get_or_insert(now);
            held.online = now.duration_since(doubted) < DOUBT;
        }
        let (online, for_ms) = (held.online, node.for_ms.filter(|_| node.online == held.online));
        let judged = held.judged.clone();
        self.held.insert(node.node.uid, held);
        NodePresence { node: node.node.clone(), online, verdict: verdict(node.node.parked, online), judged, for_ms }
    }
}

#[cfg(test)]
mod tests {
    use acp_wire_api::hub::{Cluster, Member, Metadata, NodeChange, NodeFilter};

    use super::*;

    fn seen(online: &[bool], age_ms: u64) -> ListNodesReply {
        let nodes = (1..).zip(online).map(|(number, online)| NodePresence {
            node: Member {
                uid: Uid::from_u128(number),
                name: format!("n{number}").parse().expect("a name"),
                address: String::new(),
                fingerprint: String::new(),
                controller: number == 1,
                checkpoint_key: String::new(),
                parked: false,
                roles: Vec::new(),
                domain: None,
                metadata: Metadata::default(),
                joined_ms: 0,
            },
            online: *online,
            verdict: verdict(false, *online),
            judged: None,
            for_ms: Some(5),
        });
        ListNodesReply { revision: 7, nodes: nodes.collect(), age_ms, degraded: String::new() }
    }

    fn directory() -> Directory {
        Directory {
            cluster: Cluster { uid: Uid::from_u128(9), name: "lab".parse().expect("a name") },
            revision: 7,
            authority: String::new(),
            nodes: Vec::new(),
            removed: Vec::new(),
            keys: Vec::new(),
            epoch: String::new(),
            roles: Vec::new(),
        }
    }

    fn told(filter: NodeFilter) -> Told {
        Told::new(Filter::new(filter, &directory()).expect("it is one"))
    }

    fn changes(reply: &WatchNodesReply) -> Vec<(&str, NodeChange)> {
        reply.events.iter().map(|event| (event.node.node.name.as_str(), event.change)).collect()
    }

    #[test]
    fn the_nodes_as_they_are_come_first_and_then_what_differs() {
        let (mut told, now) = (told(NodeFilter::default()), Instant::now());
        let first = told.next(&seen(&[true, false], 0), &directory(), now);
        assert_eq!((first.current, changes(&first)), (true, vec![("n1", NodeChange::Came), ("n2", NodeChange::Came)]));
        assert_eq!(told.next(&seen(&[true, false], 0), &directory(), now).events, []);
        let reply = told.next(&seen(&[true, true, true], 0), &directory(), now);
        assert_eq!(
            (reply.current, changes(&reply)),
            (false, vec![("n2", NodeChange::Online), ("n3", NodeChange::Came)])
        );
        assert_eq!(
            changes(&told.next(&seen(&[true], 0), &directory(), now)),
            [("n2", NodeChange::Went), ("n3", NodeChange::Went)]
        );
    }

    #[test]
    fn a_node_is_offline_when_the_leader_has_not_heard_it_for_a_while() {
        let (mut told, now) = (told(NodeFilter::default()), Instant::now());
        told.next(&seen(&[true, true], 0), &directory(), now);
        let gone = seen(&[true, false], 0);
        assert_eq!(told.next(&gone, &directory(), now).events, [], "it may be on its way to another controller");
        assert_eq!(told.next(&seen(&[true, true], 0), &directory(), now + DOUBT).events, [], "and is heard there");
        assert_eq!(told.next(&gone, &directory(), now + DOUBT).events, [], "the doubt begins anew");
        let others = seen(&[false, false], 3_000);
        assert_eq!(
            told.next(&others, &directory(), now + 9 * DOUBT).events,
            [],
            "a hub without a leader does not know"
        );
        let reply = told.next(&gone, &directory(), now + 2 * DOUBT);
        assert_eq!(changes(&reply), [("n2", NodeChange::Offline)]);
        assert_eq!((reply.events[0].node.verdict, reply.events[0].node.for_ms), (Verdict::Offline, Some(5)));
    }

    #[test]
    fn a_node_for_which_the_filter_begins_or_ceases_to_hold_comes_and_goes() {
        let (mut told, now) = (told(NodeFilter { online: Some(true), ..NodeFilter::default() }), Instant::now());
        let first = told.next(&seen(&[true, false], 0), &directory(), now);
        assert_eq!(changes(&first), [("n1", NodeChange::Came)]);
        assert_eq!(changes(&told.next(&seen(&[true, true], 0), &directory(), now)), [("n2", NodeChange::Came)]);
        told.next(&seen(&[false, true], 0), &directory(), now);
        let reply = told.next(&seen(&[false, true], 0), &directory(), now + DOUBT);
        assert_eq!(changes(&reply), [("n1", NodeChange::Went)]);
    }

    #[tokio::test]
    async fn the_leader_is_asked_once_for_all_who_watch_and_again_for_a_newer_directory() {
        let sight = Sight::default();
        let (old, new) = (seen(&[true], 0), ListNodesReply { revision: 8, ..seen(&[true, true], 0) });
        let look = |reply: &ListNodesReply| std::future::ready(Ok(reply.clone()));
        assert_eq!(*sight.newest(7, look(&old)).await.expect("seen"), old);
        assert_eq!(*sight.newest(7, look(&new)).await.expect("seen"), old, "it is new enough");
        assert_eq!(*sight.newest(8, look(&new)).await.expect("seen"), new);
        let failed = std::future::ready(Err(Failure::unavailable("nobody")));
        assert!(sight.newest(9, failed).await.is_err());
    }
}
