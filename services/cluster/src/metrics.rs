//! What the daemon counts.

use acp_core_cdb::{Database, Outcome};
use metrics::{counter, gauge};

/// An entry was applied, refused, or stalled the replica.
pub(crate) fn outcome(outcome: &Outcome) {
    let fate = match outcome {
        Outcome::Done(_) => "applied",
        Outcome::Refused(_) => "refused",
        Outcome::Stalled(_) => "stalled",
    };
    counter!("acp_cluster_entries_total", "fate" => fate).increment(1);
}

/// What a source sent did not count.
pub(crate) fn refused() {
    counter!("acp_cluster_sources_refused_total").increment(1);
}

/// Something that another node says came.
pub(crate) fn heard(fate: &'static str) {
    counter!("acp_cluster_heard_total", "fate" => fate).increment(1);
}

/// What the ring holds of a node has changed.
pub(crate) fn ring(held: &'static str) {
    counter!("acp_cluster_ring_changes_total", "held" => held).increment(1);
}

/// A datagram of a ring was dropped.
pub(crate) fn ring_refused(refused: &acp_core_swim::ring::RefusedError) {
    use acp_core_swim::ring::RefusedError as Refused;
    let reason = match refused {
        Refused::Stranger => "stranger",
        Refused::Sender => "sender",
        Refused::Malformed => "malformed",
        Refused::Format(_) => "format",
        Refused::TooLong => "too-long",
    };
    counter!("acp_cluster_ring_refused_total", "reason" => reason).increment(1);
}

/// A slot is not told to others.
pub(crate) fn unpublished() {
    counter!("acp_cluster_unpublished_total").increment(1);
}

/// A reporter published.
pub(crate) fn publication(was_taken: bool) {
    let fate = if was_taken { "taken" } else { "refused" };
    counter!("acp_cluster_publications_total", "fate" => fate).increment(1);
}

/// A watch had fallen behind and was sent the state again.
pub(crate) fn resync() {
    counter!("acp_cluster_watch_resyncs_total").increment(1);
}

/// How much the replica holds.
pub(crate) fn describe(database: &Database) {
    gauge!("acp_cluster_index").set(approximate(database.state().index()));
    gauge!("acp_cluster_objects").set(count(database.state().len()));
    gauge!("acp_cluster_slots").set(count(database.slots().len()));
    gauge!("acp_cluster_slot_bytes").set(count(database.slots().bytes()));
}

/// How many watches are open.
pub(crate) fn watches(open: usize) {
    gauge!("acp_cluster_watches").set(count(open));
}

fn count(count: usize) -> f64 {
    u64::try_from(count).map_or(f64::MAX, approximate)
}

/// Gauges are floating-point numbers, exact up to 2^53.
fn approximate(number: u64) -> f64 {
    let (high, low) = (u32::try_from(number >> 32), u32::try_from(number & u64::from(u32::MAX)));
    f64::from(high.unwrap_or(0)) * 4_294_967_296.0 + f64::from(low.unwrap_or(0))
}
