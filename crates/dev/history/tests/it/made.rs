//! Histories that are linearizable because of how they were made: every call takes effect at one instant within it.

use std::{collections::BTreeMap, time::Duration};

use acp_dev_history::{Action, Operation};

/// Where decisions come from: SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What a history is made of.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) clients: u64,
    pub(crate) objects: u64,
    pub(crate) calls: usize,
    /// Of a hundred calls, how many outcomes are unknown.
    pub(crate) unknown: u64,
}

/// A call that is under way.
struct UnderWay {
    operation: Operation,
    /// When it takes effect; absent: never.
    effect: Option<u64>,
    end: u64,
}

pub(crate) fn linearizable(size: Size, random: &mut Random) -> Vec<Operation> {
    let mut held = BTreeMap::<u64, u64>::new();
    let mut under_way: Vec<UnderWay> = Vec::new();
    let (mut history, mut begun, mut free) = (Vec::new(), 0, (0..size.clients).collect::<Vec<_>>());
    let mut values = 0;
    for now in 0_u64.. {
        for one in &mut under_way {
            if one.effect == Some(now) {
                take_effect(&mut one.operation, &mut held);
            }
        }
        let (ended, rest) = under_way.into_iter().partition::<Vec<_>, _>(|one| one.end <= now);
        under_way = rest;
        for one in ended {
            free.push(one.operation.client);
            history.push(one.operation);
        }
        while begun < size.calls && random.below(3) > 0 {
            let Some(client) = free.pop() else { break };
            values += 1;
            begun += 1;
            under_way.push(begin(size, random, now, client, values));
        }
        if begun == size.calls && under_way.is_empty() {
            break;
        }
    }
    history
}

fn begin(size: Size, random: &mut Random, now: u64, client: u64, value: u64) -> UnderWay {
    let end = now + 2 + random.below(2 * size.clients);
    let is_unknown = random.below(100) < size.unknown;
    let action = match random.below(10) {
        0..=3 => Action::Read(None),
        4..=8 => Action::Write(value),
        _ => Action::Swap { from: 0, to: value, done: false },
    };
    let within = now + 1 + random.below(end - now - 1);
    // What is unknown may take effect long after its caller gave up, or never.
    let effect = match is_unknown {
        false => Some(within),
        true => (random.below(2) == 0).then_some(within),
    };
    let object = random.below(size.objects);
    let ended = (!is_unknown).then(|| Duration::from_micros(end));
    let operation = Operation { object, client, action, begun: Duration::from_micros(now), ended };
    UnderWay { operation, effect, end }
}

fn take_effect(operation: &mut Operation, held: &mut BTreeMap<u64, u64>) {
    let present = held.get(&operation.object).copied();
    operation.action = match operation.action {
        Action::Read(_) => Action::Read(present),
        Action::Write(value) => {
            held.insert(operation.object, value);
            operation.action
        }
        Action::Swap { to, .. } => match present {
            Some(from) => {
                held.insert(operation.object, to);
                Action::Swap { from, to, done: true }
            }
            None => Action::Swap { from: 0, to, done: false },
        },
    };
}
