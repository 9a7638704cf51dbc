//! Sets of sequences as ranges.
//!
//! **Invariant**: ranges are in order, do not touch, and are at most [`RANGES_MAX`]; every sequence is at least 1.

use serde::{Deserialize, Serialize};

use crate::limits::RANGES_MAX;

/// From one sequence to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Range(pub u64, pub u64);

impl Range {
    /// How many sequences.
    pub const fn count(self) -> u64 {
        self.1 - self.0 + 1
    }

    /// What both have.
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self(self.0.max(other.0), self.1.min(other.1));
        (both.0 <= both.1).then_some(both)
    }
}

/// A set of sequences. It refuses what would need too many ranges, and says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

impl Ranges {
    /// All from 1 to this one; none for 0.
    pub fn up_to(last: u64) -> Self {
        Self(if last == 0 { Vec::new() } else { vec![Range(1, last)] })
    }

    /// Whether nothing is in it.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range> {
        self.0.iter().copied()
    }

    /// How many sequences.
    pub fn count(&self) -> u64 {
        self.iter().map(Range::count).sum()
    }

    /// The lowest; 0 if there is none.
    pub fn lowest(&self) -> u64 {
        self.0.first().map_or(0, |range| range.0)
    }

    /// The highest; 0 if there is none.
    pub fn highest(&self) -> u64 {
        self.0.last().map_or(0, |range| range.1)
    }

    /// Up to where all from 1 on are in it.
    pub fn contiguous(&self) -> u64 {
        self.0.first().filter(|range| range.0 == 1).map_or(0, |range| range.1)
    }

    /// Whether the sequence is in it.
    pub fn contains(&self, sequence: u64) -> bool {
        let after = self.0.partition_point(|range| range.0 <= sequence);
        after.checked_sub(1).is_some_and(|index| sequence <= self.0[index].1)
    }

    /// Whether all of the range is in it.
    pub fn covers(&self, range: Range) -> bool {
        let after = self.0.partition_point(|own| own.0 <= range.0);
        after.checked_sub(1).is_some_and(|index| range.1 <= self.0[index].1)
    }

    /// Adds the range; false, and nothing is changed, if there would be too many ranges.
    #[must_use]
    pub fn insert(&mut self, range: Range) -> bool {
        // Those that overlap or touch it become one with it.
        let from = self.0.partition_point(|own| own.1.saturating_add(1) < range.0);
        let to = self.0.partition_point(|own| own.0 <= range.1.saturating_add(1));
        if from == to && self.0.len() >= RANGES_MAX {
            return false;
        }
        let touched = &self.0[from..to.max(from)];
        let first = touched.first().map_or(range.0, |own| own.0.min(range.0));
        let last = touched.last().map_or(range.1, |own| own.1.max(range.1));
        self.0.splice(from..to.max(from), [Range(first, last)]);
        true
    }

    /// Takes the range out; false, and nothing is changed, if there would be too many ranges.
    pub fn remove(&mut self, range: Range) -> bool {
        let mut left = Vec::with_capacity(self.0.len() + 1);
        for own in self.iter() {
            if own.and(range).is_none() {
                left.push(own);
                continue;
            }
            if own.0 < range.0 {
                left.push(Range(own.0, range.0 - 1));
            }
            if own.1 > range.1 {
                left.push(Range(range.1 + 1, own.1));
            }
        }
        let fits = left.len() <= RANGES_MAX;
        if fits {
            self.0 = left;
        }
        fits
    }

    /// The first part of it that is not in `other`.
    pub fn first_without(&self, other: &Self) -> Option<Range> {
        for Range(mut first, last) in self.iter() {
            for known in other.iter() {
                if known.1 < first {
                    continue;
                }
                if known.0 > first {
                    return Some(Range(first, last.min(known.0 - 1)));
                }
                first = known.1 + 1;
                if first > last {
                    break;
                }
            }
            if first <= last {
                return Some(Range(first, last));
            }
        }
        None
    }

    /// What both have, as far as it takes no more ranges than there may be.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let both = self.iter().flat_map(|one| other.iter().filter_map(move |two| one.and(two)));
        Self(both.take(RANGES_MAX).collect())
    }

    /// What is not in it of 1 to `last`, in order.
    pub fn missing(&self, last: u64) -> impl Iterator<Item = Range> {
        let starts = std::iter::once(1).chain(self.iter().map(|range| range.1 + 1));
        let ends = self.iter().map(|range| range.0 - 1).chain(std::iter::once(last));
        starts.zip(ends).map(move |(first, end)| Range(first, end.min(last))).filter(|range| range.0 <= range.1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn all(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().flat_map(|range| range.0..=range.1).collect()
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_that_they_stand_for(steps in prop::collection::vec((any::<bool>(), 1_u64..60, 0_u64..9), 1..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (puts, first, more) in steps {
                let range = Range(first, first + more);
                if puts {
                    prop_assert!(ranges.insert(range));
                    set.extend(range.0..=range.1);
                } else {
                    prop_assert!(ranges.remove(range));
                    set.retain(|sequence| !(range.0..=range.1).contains(sequence));
                }
                prop_assert_eq!(&all(&ranges), &set);
                prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", ranges);
                prop_assert_eq!(ranges.contains(first), set.contains(&first));
                prop_assert_eq!(ranges.covers(range), (range.0..=range.1).all(|one| set.contains(&one)));
                let missing: BTreeSet<u64> = ranges.missing(70).flat_map(|range| range.0..=range.1).collect();
                prop_assert_eq!(missing, (1..=70).filter(|one| !set.contains(one)).collect::<BTreeSet<_>>());
                prop_assert_eq!(ranges.count(), set.len() as u64);
                let other = Ranges(vec![Range(10, 20), Range(30, 31)]);
                let is_other = |one: &u64| (10..=20).contains(one) || (30..=31).contains(one);
                let mut both = set.clone();
                both.retain(is_other);
                prop_assert_eq!(all(&ranges.and(&other)), both);
                let mut without = BTreeSet::new();
                let mut told = other.clone();
                while let Some(range) = ranges.first_without(&told) {
                    without.extend(range.0..=range.1);
                    prop_assert!(told.insert(range));
                }
                prop_assert_eq!(without, set.iter().copied().filter(|one| !is_other(one)).collect::<BTreeSet<_>>());
                prop_assert_eq!(ranges.contiguous(), (1..).take_while(|one| set.contains(one)).last().unwrap_or(0));
            }
        }
    }

    #[test]
    fn more_ranges_than_there_may_be_are_refused_and_change_nothing() {
        let mut ranges = Ranges::default();
        for number in 0..RANGES_MAX as u64 {
            assert!(ranges.insert(Range(10 * number + 5, 10 * number + 7)));
        }
        let before = ranges.clone();
        assert!(!ranges.insert(Range(1, 1)));
        assert!(!ranges.remove(Range(6, 6)), "it would split one");
        assert_eq!(ranges, before);
        assert!(ranges.insert(Range(8, 14)), "it joins two");
        assert!(ranges.insert(Range(1, 1)));
    }
}
