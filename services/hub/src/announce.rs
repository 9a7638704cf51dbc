//! Which changes of verdicts become entries of the log, so that events tell them: at the leader, for as long as it leads.
//!
//! Deliberately not here: how a verdict is come to (`verdicts.rs`), and that one change is told once whoever leads, which apply
//! decides (`acp_core_cdb`).
//!
//! **Invariants**: what the log says of a node and what it is taken for become the same, later if changes come too fast; of one
//! node at most [`ENTRIES_MAX`] entries come in [`WINDOW`], and the next one says how many changes were left out.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use acp_base::{BootInstant, Uid};
use acp_wire_model::entry::NodeStanding;

/// Entries about one node in a [`WINDOW`]: two whole silences with their ends, in each of which it is isolated, down, unmanaged and
/// online. One that flaps for a day leaves 11,520 at most.
const ENTRIES_MAX: usize = 8;

/// In which time.
const WINDOW: Duration = Duration::from_secs(60);

/// After how long an order that failed is tried again: another leader is elected meanwhile, or this one hears its voters again.
const RETRY: Duration = Duration::from_secs(1);

/// What was seen of one node.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// What it was taken for last; none: as the log says.
    standing: Option<NodeStanding>,
    /// Changes since its last entry.
    changes: u32,
    /// When its entries were ordered, within the window.
    entries: VecDeque<BootInstant>,
}

/// A change that is to be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) node: Uid,
    pub(crate) standing: NodeStanding,
    /// Changes before it that were left out.
    pub(crate) unsaid: u32,
}

/// What one leadership has told.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    nodes: BTreeMap<Uid, Seen>,
    /// Nodes of which the log may say something else.
    open: BTreeSet<Uid>,
    /// Whether every node was looked at once.
    begun: bool,
    /// Whether an order is under way.
    ordering: bool,
    /// Not before then.
    pause: Option<BootInstant>,
    /// When the next entry may be ordered that was one too many.
    later: Option<BootInstant>,
}

impl Announcements {
    /// Says who is a member. What the log says of them is looked at once, as soon as the leader has heard enough.
    pub(crate) fn begin(&mut self, members: impl IntoIterator<Item = Uid>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.open.extend(members);
        }
    }

    /// Nodes that are to be looked at.
    pub(crate) fn open(&self) -> Vec<Uid> {
        self.open.iter().copied().collect()
    }

    /// A node is taken for this from now on; `logged` is what the log says.
    pub(crate) fn changed(&mut self, node: Uid, standing: NodeStanding, logged: NodeStanding) {
        let seen = self.nodes.entry(node).or_default();
        if seen.standing.unwrap_or(logged) != standing {
            seen.changes = seen.changes.saturating_add(1);
        }
        seen.standing = Some(standing);
        self.open.insert(node);
    }

    /// What is to be ordered now, at most so much; `now_and_logged` says what a node is taken for and what the log says of it, or
    /// nothing where nobody can tell or it is no member. Nothing more is due until [`Self::ordered`].
    pub(crate) fn due(
        &mut self,
        now: BootInstant,
        most: usize,
        now_and_logged: impl Fn(Uid) -> Option<(NodeStanding, NodeStanding)>,
    ) -> Vec<Due> {
        self.later = None;
        if self.ordering || self.pause.is_some_and(|pause| now < pause) {
            return Vec::new();
        }
        self.pause = None;
        let (mut due, mut settled) = (Vec::new(), BTreeSet::new());
        for node in self.open.iter().copied() {
            let Some((standing, logged)) = now_and_logged(node) else {
                settled.insert(node);
                continue;
            };
            if standing == logged {
                settled.insert(node);
                continue;
            }
            let seen = self.nodes.entry(node).or_default();
            while seen.entries.front().is_some_and(|at| now.since(*at) >= WINDOW) {
                seen.entries.pop_front();
            }
            match seen.entries.front().filter(|_| seen.entries.len() >= ENTRIES_MAX) {
                Some(first) => self.later = [self.later, Some(*first + WINDOW)].into_iter().flatten().min(),
                None if due.len() < most => {
                    due.push(Due { node, standing, unsaid: seen.changes.saturating_sub(1) });
                }
                None => self.later = Some(now),
            }
        }
        self.open.retain(|node| !settled.contains(node));
        self.ordering = !due.is_empty();
        due
    }

    /// What was due is in the log, or is not.
    pub(crate) fn ordered(&mut self, now: BootInstant, due: &[Due], is_done: bool) {
        self.ordering = false;
        if !is_done {
            self.pause = Some(now + RETRY);
            return;
        }
        for Due { node, unsaid, .. } in due {
            let seen = self.nodes.entry(*node).or_default();
            seen.changes = seen.changes.saturating_sub(unsaid + 1);
            seen.entries.push_back(now);
        }
    }

    /// When [`Self::due`] is to be asked again whatever else happens.
    pub(crate) fn deadline(&self) -> Option<BootInstant> {
        [self.pause.filter(|_| !self.open.is_empty()), self.later].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use NodeStanding::{Down, Online};

    use super::*;

    const NODE: Uid = Uid::from_u128(2);

    fn at(ms: u64) -> BootInstant {
        BootInstant::from_millis(1_000_000 + ms)
    }

    /// A log of one node, and a leader that writes it.
    struct World {
        announcements: Announcements,
        is: NodeStanding,
        logged: NodeStanding,
        entries: Vec<(u64, NodeStanding, u32)>,
    }

    impl World {
        fn new(is: NodeStanding, logged: NodeStanding) -> Self {
            Self { announcements: Announcements::default(), is, logged, entries: Vec::new() }
        }

        fn becomes(&mut self, ms: u64, is: NodeStanding) {
            self.is = is;
            self.announcements.changed(NODE, is, self.logged);
            self.settle(ms, true);
        }

        fn settle(&mut self, ms: u64, is_done: bool) {
            let (is, logged) = (self.is, self.logged);
            let due = self.announcements.due(at(ms), 8, |_node| Some((is, logged)));
            for Due { standing, unsaid, .. } in due.iter().filter(|_| is_done) {
                self.entries.push((ms, *standing, *unsaid));
                self.logged = *standing;
            }
            if !due.is_empty() {
                self.announcements.ordered(at(ms), &due, is_done);
            }
        }
    }

    #[test]
    fn a_change_is_ordered_once_and_a_new_leader_repeats_none_that_stands() {
        let mut world = World::new(Online, Online);
        world.becomes(0, Down);
        world.settle(1, true);
        assert_eq!(world.entries, [(0, Down, 0)]);
        let mut next = World::new(Down, world.logged);
        next.announcements.begin([NODE]);
        next.settle(5_000, true);
        assert_eq!(next.entries, []);
        next.becomes(6_000, Online);
        assert_eq!(next.entries, [(6_000, Online, 0)]);
        // What a leader finds otherwise than the log says it tells, although it saw no change.
        let mut third = World::new(Online, Down);
        third.announcements.begin([NODE]);
        third.settle(0, true);
        assert_eq!(third.entries, [(0, Online, 0)]);
    }

    #[test]
    fn a_node_that_flaps_has_few_entries_and_what_was_left_out_is_counted() {
        let mut world = World::new(Online, Online);
        for second in 0..300 {
            world.becomes(second * 1_000, if second % 2 == 0 { Down } else { Online });
        }
        for from in 0..240 {
            let within = world.entries.iter().filter(|(ms, _, _)| (from * 1_000..(from + 60) * 1_000).contains(ms));
            assert!(within.count() <= ENTRIES_MAX, "{:?}", world.entries);
        }
        assert_eq!(world.entries.len(), 5 * ENTRIES_MAX);
        let told: u32 = world.entries.iter().map(|(_, _, unsaid)| unsaid + 1).sum();
        assert!(300 - told <= 60, "but those of the last minute: {told}");
        assert_eq!(world.entries[ENTRIES_MAX], (60_000, Down, 52));
        // When it is quiet the log says how it is.
        world.becomes(299_500, Down);
        assert_eq!(world.logged, Online);
        let late = world.announcements.deadline().expect("later");
        world.settle(u64::try_from(late.since(at(0)).as_millis()).expect("small"), true);
        assert_eq!(world.logged, Down);
    }

    #[test]
    fn what_could_not_be_ordered_is_tried_again_after_a_pause() {
        let mut world = World::new(Down, Online);
        world.announcements.changed(NODE, Down, Online);
        world.settle(0, false);
        assert_eq!(world.announcements.deadline(), Some(at(1_000)));
        world.settle(999, true);
        assert_eq!(world.entries, []);
        world.settle(1_000, true);
        assert_eq!(world.entries, [(1_000, Down, 0)]);
        assert_eq!(world.announcements.deadline(), None);
    }
}
