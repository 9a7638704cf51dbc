//! Nodes on virtual time, with a network between them in which any direction can be cut.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

/// Milliseconds of virtual time.
pub(super) type Millis = u64;

/// The wall clocks' reading at the beginning, where a node has no offset.
const WALL: u64 = 1_795_296_892_345;

/// What one node said of its way to another one, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at: Millis,
    pub(super) way: (usize, usize),
    pub(super) mode: Mode,
    pub(super) why: Why,
}

/// What is on its way: how, from whom, to whom.
type Underway = (Path, usize, usize, Vec<u8>);

pub(super) struct World {
    pub(super) now: Millis,
    nodes: Vec<SelfTest>,
    /// Ways on which nothing arrives.
    pub(super) cut: BTreeSet<(Path, usize, usize)>,
    /// Nodes that do not run: nothing is delivered to them, and no deadline of theirs comes.
    pub(super) frozen: BTreeSet<usize>,
    pub(super) loss_permille: u64,
    /// Bytes of the largest datagram that passes.
    pub(super) carries: usize,
    pub(super) offsets_millis: Vec<i64>,
    random: u64,
    number: u64,
    underway: BTreeMap<(Millis, u64), Underway>,
    pub(super) changes: Vec<Change>,
    /// Datagrams that were sent, by node and way.
    pub(super) sent: BTreeMap<(usize, Path), u64>,
}

pub(super) fn uid(node: usize) -> Uid {
    Uid::from_u128(100 + node as u128)
}

fn place(uid: Uid) -> usize {
    usize::try_from(uid.as_u128() - 100).expect("a node")
}

impl World {
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let mut world = Self {
            now: 10_000,
            nodes: Vec::new(),
            cut: BTreeSet::new(),
            frozen: BTreeSet::new(),
            loss_permille: 0,
            carries: usize::MAX,
            offsets_millis: vec![0; count],
            random: seed,
            number: 0,
            underway: BTreeMap::new(),
            changes: Vec::new(),
            sent: BTreeMap::new(),
        };
        for node in 0..count {
            let phase = Duration::from_millis(world.roll(200));
            world.nodes.push(SelfTest::new(uid(node), BootInstant::from_millis(world.now), phase));
        }
        let members: Vec<Uid> = (0..count).map(uid).collect();
        (0..count).for_each(|node| world.give(node, Input::Members(&members)));
        world
    }

    /// Runs for so long.
    pub(super) fn run(&mut self, millis: Millis) {
        let end = self.now + millis;
        loop {
            let awake = (0..self.nodes.len()).filter(|node| !self.frozen.contains(node));
            let deadline = awake.map(|node| (self.deadline(node), node)).min();
            let arrival = self.underway.first_key_value().map(|((at, _), _)| *at);
            match (deadline, arrival) {
                (_, Some(at)) if at <= end && deadline.is_none_or(|(deadline, _)| at <= deadline) => {
                    self.now = self.now.max(at);
                    self.deliver();
                }
                (Some((at, node)), _) if at <= end => {
                    self.now = self.now.max(at);
                    self.give(node, Input::Tick);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    pub(super) fn give(&mut self, node: usize, input: Input<'_>) {
        let mut out = Vec::new();
        let now = self.clocks(node);
        self.nodes[node].step(now, input, &mut out);
        for output in out {
            match output {
                Output::Multicast(payload) => {
                    (0..self.nodes.len()).for_each(|to| self.send(Path::Multicast, node, to, &payload));
                    *self.sent.entry((node, Path::Multicast)).or_default() += 1;
                }
                Output::Unicast(peer, payload) => {
                    self.send(Path::Unicast, node, place(peer), &payload);
                    *self.sent.entry((node, Path::Unicast)).or_default() += 1;
                }
                Output::Whole(peer, payload) => {
                    let fits = payload.len() + OVERHEAD_BYTES <= self.carries;
                    if fits {
                        self.send(Path::Unicast, node, place(peer), &payload);
                    }
                }
                Output::Changed { peer, mode, why } => {
                    assert_eq!(self.nodes[node].mode(peer), mode);
                    self.changes.push(Change { at: self.now, way: (node, place(peer)), mode, why });
                }
            }
        }
    }

    pub(super) fn mode(&self, from: usize, to: usize) -> Mode {
        self.nodes[from].mode(uid(to))
    }

    pub(super) fn report(&self, from: usize, to: usize) -> PeerReport {
        let now = BootInstant::from_millis(self.now);
        self.nodes[from].report(now).find(|report| report.peer == uid(to)).expect("it is a peer")
    }

    /// All ways that are in this mode.
    pub(super) fn ways(&self, mode: Mode) -> Vec<(usize, usize)> {
        let count = self.nodes.len();
        let all = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        all.filter(|(from, to)| from != to && self.mode(*from, *to) == mode).collect()
    }

    fn deadline(&self, node: usize) -> Millis {
        self.nodes[node].next_deadline().as_nanos().div_ceil(1_000_000)
    }

    fn clocks(&self, node: usize) -> Now {
        let wall = (WALL + self.now).saturating_add_signed(self.offsets_millis[node]);
        Now { boot: BootInstant::from_millis(self.now), wall: WallTime(wall) }
    }

    fn send(&mut self, path: Path, from: usize, to: usize, payload: &[u8]) {
        let is_lost = self.roll(1_000) < self.loss_permille;
        let is_there = from != to && to < self.nodes.len();
        if is_there && !is_lost && !self.cut.contains(&(path, from, to)) {
            self.number += 1;
            let at = self.now + 1 + self.roll(3);
            self.underway.insert((at, self.number), (path, from, to, payload.to_vec()));
        }
    }

    fn deliver(&mut self) {
        let Some((_, (path, from, to, payload))) = self.underway.pop_first() else { return };
        if !self.frozen.contains(&to) {
            self.give(to, Input::Message { from: uid(from), path, payload: &payload });
        }
    }

    /// SplitMix64.
    fn roll(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
