//! The search for an order that explains a history.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use crate::Operation;

/// Operations around a violation that it shows.
const SHOWN: usize = 60;
/// Configurations of an object that are looked at: those of honest histories are about as many as their calls, and 32 bytes each.
const CONFIGURATIONS_MAX: usize = 4_000_000;

/// No order of an object's calls explains their answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The object.
    pub object: u64,
    /// How many of its calls were explained at most.
    pub explained: usize,
    /// The calls at the place where no explanation goes on, in the order of their beginnings.
    pub around: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "object {}: no order explains more than {} calls; then:", self.object, self.explained)?;
        self.around.iter().try_for_each(|one| {
            let ended = one.ended.map_or_else(|| "unknown".to_owned(), |ended| format!("{ended:?}"));
            writeln!(f, "    client {} {:?} from {:?} to {ended}", one.client, one.action, one.begun)
        })
    }
}

impl std::error::Error for Violation {}

/// Whether the history is linearizable, each object a register that is not there at first.
///
/// # Errors
/// The first object whose calls no order explains.
pub fn check(history: &[Operation]) -> Result<(), Violation> {
    let mut objects = BTreeMap::<u64, Vec<Operation>>::new();
    for operation in history {
        objects.entry(operation.object).or_default().push(*operation);
    }
    objects.into_iter().try_for_each(|(object, operations)| {
        let mut calls = settled(&operations);
        calls.sort_by_key(|call| (call.begun, call.ended));
        Search::new(&calls).run().map_err(|(explained, stuck)| Violation {
            object,
            explained,
            around: around(&calls, stuck),
        })
    })
}

fn around(calls: &[Operation], stuck: usize) -> Vec<Operation> {
    let first = stuck.saturating_sub(SHOWN / 2);
    calls.iter().skip(first).take(SHOWN).copied().collect()
}

/// Makes calls whose outcome is unknown certain. A value that was found has been written before the first who found it was
/// answered. One that nobody found may as well never have been written, but for a swap that was refused: it may be what stood in
/// its way. Such a swap then says nothing.
fn settled(operations: &[Operation]) -> Vec<Operation> {
    let found = found(operations);
    let is_lost =
        |one: &&Operation| one.ended.is_none() && one.action.written().is_some_and(|value| !found.contains_key(&value));
    let first_lost = operations.iter().filter(is_lost).map(|one| one.begun).min();
    let settle = |one: &Operation| match one.ended {
        Some(ended) => {
            let says_nothing = one.action.is_refusal() && first_lost.is_some_and(|lost| lost <= ended);
            (!says_nothing).then_some(*one)
        }
        None => {
            let first = found.get(&one.action.written()?)?;
            Some(Operation { ended: Some((*first).max(one.begun)), ..*one })
        }
    };
    operations.iter().filter_map(settle).collect()
}

/// Every value that somebody has found, with when the first of them was answered. A swap whose outcome nobody was told has found
/// its value, too, if somebody has found what it wrote.
fn found(operations: &[Operation]) -> BTreeMap<u64, Duration> {
    let mut found = BTreeMap::<u64, Duration>::new();
    loop {
        let mut is_more = false;
        for one in operations {
            let told = || one.action.written().and_then(|value| found.get(&value)).map(|first| one.begun.max(*first));
            let Some((value, ended)) = one.action.found().zip(one.ended.or_else(told)) else { continue };
            let first = found.entry(value).or_insert(Duration::MAX);
            is_more |= ended < *first;
            *first = ended.min(*first);
        }
        if !is_more {
            return found;
        }
    }
}

/// A beginning or an end in the list of those that are not yet explained. The head stands in front, at 0.
#[derive(Clone, Copy, Debug)]
struct Event {
    call: usize,
    is_end: bool,
    before: usize,
    after: usize,
}

/// A call in the order, and what the register held before it. One that changes nothing was no choice: wherever it fits first, it
/// fits best.
#[derive(Clone, Copy, Debug)]
struct Taken {
    call: usize,
    before: Option<u64>,
    is_choice: bool,
}

/// The search: calls are taken into the order one after the other, each only from among those that began before the first end
/// of the rest; a dead end takes back all up to the last choice.
struct Search<'a> {
    calls: &'a [Operation],
    events: Vec<Event>,
    /// Where the beginning and the end of each call stand.
    places: Vec<[usize; 2]>,
    /// How many who found a value are not explained yet: until they are, it cannot be overwritten.
    finders: BTreeMap<u64, usize>,
    held: Option<u64>,
    taken: Vec<Taken>,
    /// The calls taken, folded to a number: equal sets have equal ones, others as good as never.
    folded: u128,
    /// Configurations that were tried.
    seen: HashSet<(u128, Option<u64>)>,
}

impl<'a> Search<'a> {
    fn new(calls: &'a [Operation]) -> Self {
        let mut order: Vec<(Duration, bool, usize)> = Vec::new();
        for (call, one) in calls.iter().enumerate() {
            order.push((one.begun, false, call));
            order.extend(one.ended.map(|ended| (ended, true, call)));
        }
        // Of a beginning and an end at the same instant the beginning is first: the two may have overlapped.
        order.sort_unstable();
        let mut places = vec![[0; 2]; calls.len()];
        let mut events = vec![Event { call: usize::MAX, is_end: false, before: 0, after: 1 }];
        for (number, (_, is_end, call)) in order.into_iter().enumerate() {
            let place = number + 1;
            places[call][usize::from(is_end)] = place;
            events.push(Event { call, is_end, before: number, after: place + 1 });
        }
        let mut finders = BTreeMap::new();
        for value in calls.iter().filter_map(|one| one.action.found()) {
            *finders.entry(value).or_insert(0) += 1;
        }
        let (held, taken, folded, seen) = (None, Vec::new(), 0, HashSet::new());
        Self { calls, events, places, finders, held, taken, folded, seen }
    }

    /// How many calls were explained at most, and which one was the first that could not be.
    fn run(mut self) -> Result<(), (usize, usize)> {
        let mut best = (0, 0);
        let mut at = self.first_after_those_that_change_nothing();
        while self.taken.len() < self.calls.len() {
            let event = self.events[at];
            if event.is_end {
                // Whoever ends here had to be explained before: the last choice was wrong.
                if self.taken.len() >= best.0 {
                    best = (self.taken.len(), event.call);
                }
                let Some(call) = self.take_back_a_choice() else { return Err(best) };
                at = self.events[self.places[call][0]].after;
            } else if self.may_be_next(event.call) {
                self.take(event.call, true);
                at = self.first_after_those_that_change_nothing();
            } else {
                at = event.after;
            }
        }
        Ok(())
    }

    /// Whether this change fits here, and what comes of it was not tried before.
    fn may_be_next(&mut self, call: usize) -> bool {
        let action = self.calls[call].action;
        let Some(next) = action.step(self.held) else { return false };
        let left = self.held.and_then(|held| self.finders.get(&held)).copied().unwrap_or_default();
        let own = usize::from(action.found().is_some());
        assert!(self.seen.len() < CONFIGURATIONS_MAX, "a history too entangled to be checked");
        left <= own && self.seen.insert((self.folded ^ mark(call), next))
    }

    /// Takes whatever fits and changes nothing; answers the first event after.
    fn first_after_those_that_change_nothing(&mut self) -> usize {
        let mut at = self.events[0].after;
        while let Some(event) = self.events.get(at).filter(|event| !event.is_end) {
            let (call, after) = (event.call, event.after);
            let action = self.calls[call].action;
            if action.written().is_none() && action.step(self.held).is_some() {
                self.take(call, false);
                // An end may have gone with it, and let others in.
                at = self.events[0].after;
            } else {
                at = after;
            }
        }
        self.events[0].after
    }

    fn take(&mut self, call: usize, is_choice: bool) {
        let action = self.calls[call].action;
        self.taken.push(Taken { call, before: self.held, is_choice });
        self.held = action.step(self.held).unwrap_or_default();
        self.folded ^= mark(call);
        if let Some(left) = action.found().and_then(|value| self.finders.get_mut(&value)) {
            *left -= 1;
        }
        for place in self.places[call] {
            let Event { before, after, .. } = self.events[place];
            self.events[before].after = after;
            if let Some(after) = self.events.get_mut(after) {
                after.before = before;
            }
        }
    }

    /// Takes back the last choice and all after it; answers which call it was.
    fn take_back_a_choice(&mut self) -> Option<usize> {
        loop {
            let Taken { call, before, is_choice } = self.taken.pop()?;
            self.put_back(call);
            self.held = before;
            if is_choice {
                return Some(call);
            }
        }
    }

    /// In the opposite order, so that each finds its neighbours as it left them.
    fn put_back(&mut self, call: usize) {
        self.folded ^= mark(call);
        if let Some(left) = self.calls[call].action.found().and_then(|value| self.finders.get_mut(&value)) {
            *left += 1;
        }
        for place in self.places[call].into_iter().rev() {
            let Event { before, after, .. } = self.events[place];
            self.events[before].after = place;
            if let Some(after) = self.events.get_mut(after) {
                after.before = place;
            }
        }
    }
}

/// The number that stands for a call in a set: two rounds of SplitMix64.
fn mark(call: usize) -> u128 {
    let mix = |seed: u64| {
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let upper = mix((call as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    u128::from(upper) << 64 | u128::from(mix(upper ^ 0x9e37_79b9_7f4a_7c15))
}
