//! Packing slots into deltas below the MTU.
//!
//! **Invariant**: the deltas made for a range cover it without gap or overlap, and none is longer than [`MTU_BYTES`].

use std::sync::Arc;

use acp_wire_model::object::Facet;

use crate::{
    limits::MTU_BYTES,
    ranges::{Range, Ranges},
    wire::{Body, Delta, Header, Item, Message, Origin, Said, encode},
};

/// Bytes of a delta without items, at most; a test compares.
const DELTA_BYTES: usize = 132;

/// What all deltas of one origin at one instant have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) origin: Origin,
    pub(crate) relayed: bool,
    pub(crate) newest: u64,
    pub(crate) horizon: u64,
}

/// Messages, and what is left of the range that they were to cover.
pub(crate) type Packed = (Vec<Arc<[u8]>>, Option<Range>);

impl Frame {
    /// One delta.
    pub(crate) fn delta(&self, range: Range, items: Vec<Item>) -> Arc<[u8]> {
        let Self { header, origin, relayed, newest, horizon } = *self;
        let delta = Delta { origin, relayed, newest, horizon, first: range.0, last: range.1, items };
        encode(&Message { header, body: Body::Delta(delta) }).into()
    }

    /// The range's items, in order, as deltas, at most `most`; beside them what is left of the range.
    pub(crate) fn deltas(&self, range: Range, items: impl Iterator<Item = Item>, most: usize) -> Packed {
        let (mut made, mut batch, mut first) = (Vec::new(), Batch::default(), range.0);
        for item in items {
            if !batch.has_room(&item) {
                if made.len() + 1 >= most {
                    made.push(self.delta(Range(first, item.sequence - 1), batch.take()));
                    return (made, Some(Range(item.sequence, range.1)));
                }
                made.push(self.delta(Range(first, item.sequence - 1), batch.take()));
                first = item.sequence;
            }
            batch.push(item);
        }
        made.push(self.delta(Range(first, range.1), batch.take()));
        (made, None)
    }
}

/// The items of one delta.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    items: Vec<Item>,
    bytes: usize,
}

impl Batch {
    /// Whether the item fits; into an empty one each does.
    pub(crate) fn has_room(&self, item: &Item) -> bool {
        self.items.is_empty() || DELTA_BYTES + self.bytes + item_bytes(item) <= MTU_BYTES
    }

    pub(crate) fn push(&mut self, item: Item) {
        self.bytes += item_bytes(&item);
        self.items.push(item);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn take(&mut self) -> Vec<Item> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}

/// Bytes of an encoded item, without encoding it.
pub(crate) fn item_bytes(item: &Item) -> usize {
    // A map has one byte before its fields, a field's name two, an id 18.
    const NAME: usize = 2;
    let said = match &item.said {
        Said::Value(value) => 1 + NAME + blob_bytes(value.0.len()),
        Said::Large(_, length) => 1 + NAME + 1 + 34 + number_bytes(u64::from(*length)),
        Said::Gone => NAME,
    };
    let reporter = item.key.reporter.len();
    let facet = if item.key.facet == Facet::Meta { 4 } else { 5 };
    let texts = 1 + item.key.kind.name().len() + if reporter < 32 { 1 } else { 2 } + reporter + 1 + facet;
    let key = 1 + 4 * NAME + 18 + texts;
    1 + 4 * NAME + number_bytes(item.sequence) + number_bytes(item.age_ms) + key + said
}

const fn number_bytes(number: u64) -> usize {
    match number {
        0..0x80 => 1,
        0x80..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}

const fn blob_bytes(length: usize) -> usize {
    match length {
        0..0x100 => 2 + length,
        0x100..0x1_0000 => 3 + length,
        _ => 5 + length,
    }
}

/// What of the ranges is not above `last`.
pub(crate) fn within(ranges: &Ranges, last: u64) -> Ranges {
    let mut clipped = ranges.clone();
    if last < clipped.highest() {
        // Cutting at the end makes no more ranges than there were.
        let cut = clipped.remove(Range(last + 1, u64::MAX));
        debug_assert!(cut, "cutting at the end makes no more ranges");
    }
    clipped
}

#[cfg(test)]
mod tests {
    use acp_base::{EpochId, Uid};
    use acp_wire_model::Kind;

    use super::*;
    use crate::{
        limits::{INLINE_BYTES_MAX, NUMBER_MAX, REPORTER_BYTES_MAX},
        wire::{Blob, FEATURE_LEVEL, Hash, SlotKey, decode},
    };

    const MAX: Uid = Uid::from_u128(u128::MAX);

    fn frame() -> Frame {
        let header = Header { level: FEATURE_LEVEL.max(300), epoch: EpochId { number: u64::MAX, id: MAX } };
        let origin = Origin { node: MAX, incarnation: NUMBER_MAX };
        Frame { header, origin, relayed: true, newest: NUMBER_MAX, horizon: NUMBER_MAX }
    }

    fn item(sequence: u64, said: Said) -> Item {
        let reporter = Arc::from("r".repeat(REPORTER_BYTES_MAX));
        let key = SlotKey { kind: Kind::Network, uid: MAX, reporter, facet: Facet::Stats };
        Item { sequence, age_ms: u64::MAX, key, said }
    }

    fn value(bytes: usize) -> Said {
        Said::Value(Blob(Arc::from(vec![7; bytes])))
    }

    #[test]
    fn the_longest_item_fits_and_sizes_are_exact() {
        let empty = frame().delta(Range(NUMBER_MAX, NUMBER_MAX), Vec::new()).len();
        // A list of more than 15 items says its length in two bytes more.
        assert!(empty + 2 <= DELTA_BYTES, "{empty}");
        let large = [200_u32, 60_000, u32::MAX].map(|length| Said::Large(Hash([1; 32]), length));
        for said in [value(INLINE_BYTES_MAX), value(0), value(255), value(256), Said::Gone].into_iter().chain(large) {
            for number in [1, 127, 128, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, NUMBER_MAX] {
                let mut item = item(number, said.clone());
                item.age_ms = number;
                let (bytes, facet) = (item_bytes(&item), item.key.facet);
                let delta = frame().delta(Range(NUMBER_MAX, NUMBER_MAX), vec![item]).len();
                assert_eq!(delta - empty, bytes, "{said:?} {number} {facet:?}");
                assert!(delta <= MTU_BYTES, "{delta}");
            }
        }
    }

    #[test]
    fn deltas_cover_their_range_and_stay_below_the_mtu() {
        let mut frame = frame();
        frame.header.level = FEATURE_LEVEL;
        let items: Vec<Item> =
            (0..40).map(|n| item(10 + 3 * n, value(usize::try_from(n * 28).expect("small")))).collect();
        let (mut next, mut seen, mut left) = (5, Vec::new(), Some(Range(5, 400)));
        while let Some(range) = left {
            let rest = items.iter().filter(|item| item.sequence >= range.0).cloned();
            let (made, more) = frame.deltas(range, rest, 3);
            assert!(made.len() <= 3);
            for bytes in made {
                assert!(bytes.len() <= MTU_BYTES, "{}", bytes.len());
                let Body::Delta(delta) = decode(&bytes).expect("our own").body else { panic!("no delta") };
                assert_eq!(delta.first, next);
                next = delta.last + 1;
                seen.extend(delta.items);
            }
            left = more;
        }
        assert_eq!((next, seen), (401, items));
    }
}
