//! The rules that messages keep beyond their form.

use super::{Body, Delta, Digest, Item, Origin, Said};
use crate::limits::{
    DIGESTS_MAX, NACK_RANGES_MAX, NUMBER_MAX, PART_BYTES, REPORTERS_MAX, SUMMARY_ORIGINS_MAX, VALUE_BYTES_MAX,
};

/// The rule that a message breaks.
pub(super) fn check(body: &Body) -> Option<&'static str> {
    match body {
        Body::Delta(delta) => check_delta(delta),
        Body::Digest(digest) => check_digest(digest),
        Body::Digests(digests) if digests.len() > DIGESTS_MAX => Some("it has too many digests"),
        Body::Digests(digests) => digests.iter().find_map(check_digest),
        Body::Nack(nack) => check_all(&[
            (check_origin(nack.origin), "its origin is out of bounds"),
            (nack.ranges.len() <= NACK_RANGES_MAX, "it has too many ranges"),
            (nack.ranges.iter().all(|range| is_range(range.0, range.1)), "a range is none"),
            (nack.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "its ranges are out of order"),
        ]),
        Body::Summary(summary) => check_all(&[
            (summary.known.len() <= SUMMARY_ORIGINS_MAX, "it names too many origins"),
            (summary.known.iter().all(|known| check_origin(known.origin)), "an origin is out of bounds"),
        ]),
        Body::Fetch(fetch) => check_all(&[(check_origin(fetch.origin), "its origin is out of bounds")]),
        Body::Part(part) => check_all(&[
            (part.index < 64, "its index is out of bounds"),
            (part.bytes.0.len() <= PART_BYTES, "it is too long"),
        ]),
    }
}

fn check_digest(digest: &Digest) -> Option<&'static str> {
    check_all(&[
        (check_origin(digest.origin), "its origin is out of bounds"),
        (digest.newest <= NUMBER_MAX && digest.horizon <= digest.newest, "its sequences are out of order"),
        (digest.meta.is_none_or(|meta| meta.newest <= digest.newest), "its state is newer than all of it"),
        (digest.reporters.len() <= REPORTERS_MAX, "it has too many reporters"),
    ])
}

fn check_delta(delta: &Delta) -> Option<&'static str> {
    let within = |item: &Item| (delta.first..=delta.last).contains(&item.sequence);
    let fits = |item: &Item| match &item.said {
        Said::Value(value) => value.0.len() <= VALUE_BYTES_MAX,
        Said::Large(_, length) => (1..=VALUE_BYTES_MAX).contains(&(*length as usize)),
        Said::Gone => true,
    };
    check_all(&[
        (check_origin(delta.origin), "its origin is out of bounds"),
        (is_range(delta.first, delta.last) && delta.last <= delta.newest, "its sequences are out of order"),
        (delta.newest <= NUMBER_MAX && delta.horizon <= delta.newest, "its horizon is out of bounds"),
        (delta.items.iter().all(within), "an item is outside its range"),
        (delta.items.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "its items are out of order"),
        (delta.items.iter().all(fits), "a value is too long"),
    ])
}

fn check_all(rules: &[(bool, &'static str)]) -> Option<&'static str> {
    rules.iter().find(|(holds, _)| !holds).map(|(_, rule)| *rule)
}

const fn check_origin(origin: Origin) -> bool {
    origin.incarnation <= NUMBER_MAX
}

const fn is_range(first: u64, last: u64) -> bool {
    1 <= first && first <= last && last <= NUMBER_MAX
}
