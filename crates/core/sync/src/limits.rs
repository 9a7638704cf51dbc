//! Every bound and every period of slot replication, each with its reason.

use std::time::Duration;

/// Bytes of one message: what a sealed datagram carries, which stays below Ethernet's 1,500 with its headers and a tunnel's.
pub const MTU_BYTES: usize = 1_330;

/// Bytes of a message that is read: a sender of another version may have jumbo frames for its MTU.
pub const MESSAGE_BYTES_MAX: usize = 9_000;

/// Bytes of a value that travels in its item; larger ones are announced by hash and fetched. One of them fits into a message
/// with the longest reporter and with numbers at their largest.
pub const INLINE_BYTES_MAX: usize = 1_080;

/// Bytes of a value: what the database takes as one slot. 64 parts of it have a bit each in a [`crate::wire::Fetch`].
pub const VALUE_BYTES_MAX: usize = PART_BYTES * 64;

/// Bytes of a part of a large value: 65 KiB are 64 of them, and the longest reporter fits beside one.
pub const PART_BYTES: usize = 1_040;

/// Bytes of a reporter's short name: a service's noun with room.
pub const REPORTER_BYTES_MAX: usize = 32;

/// Reporters of one node: its services, with room. Their names fit into one digest.
pub const REPORTERS_MAX: usize = 24;

/// Largest sequence and incarnation that is believed: far from where adding one would overflow.
pub const NUMBER_MAX: u64 = 1 << 62;

/// How deep lists and maps of a message lie in each other, with room for fields of newer versions.
pub const DEPTH_MAX: usize = 16;

/// Ranges of received sequences with gaps between them that are remembered of an origin. What would make more is left for
/// the origin to repeat.
pub const RANGES_MAX: usize = 64;

/// Ranges in one NACK, so that it stays a small datagram; the rest is asked for when these have come.
pub const NACK_RANGES_MAX: usize = 24;

/// Sequences asked for by a NACK up to which the answer goes to the group: losing a datagram or two is what several nodes
/// share. More is what a joiner lacks, and goes to it alone.
pub const GROUP_REPEAT_MAX: u64 = 256;

/// Tombstones that a publisher keeps; the oldest go first and raise the horizon. 100 bytes each.
pub const TOMBSTONES_MAX: usize = 8_192;

/// Tombstones that are held of another node's slots; the same holds of them.
pub const TOMBSTONES_HELD_MAX: usize = 1_024;

/// How long a tombstone is kept: beyond any gap that a node has without being taken for dead.
pub const TOMBSTONE_KEPT: Duration = Duration::from_secs(600);

/// How long after changes have left the next ones wait for others that fit into the same datagram: whoever publishes one after the
/// other notices nothing of it, and a flood makes 4,000 datagrams a second at most.
pub const FLUSH_DELAY: Duration = Duration::from_micros(250);

/// Datagrams with changes or repeats that leave at one wake: what a socket's buffer of today's kernels takes.
pub const DATAGRAMS_PER_WAKE: usize = 32;

/// The pause before the next of them.
pub const PACE: Duration = Duration::from_millis(4);

/// How long a publisher gathers NACKs before it answers them together.
pub const REPEAT_DELAY: Duration = Duration::from_millis(3);

/// How long what was repeated to the group is not repeated again: NACKs for it are on their way.
pub const REPEAT_HOLD: Duration = Duration::from_millis(40);

/// Answers that wait to be sent, each of an origin to a node or the group: a joiner may lack every origin. Whoever finds no
/// room asks again.
pub const ASKED_MAX: usize = 1_024;

/// How often a node says where its own slots stand. With [`SPREAD_PERCENT`] of jitter: 1,000 nodes are 500 datagrams a second.
pub const DIGEST_PERIOD: Duration = Duration::from_secs(2);

/// How soon after changes it does so besides if none follow: then the loss of the last datagram is noticed.
pub const DIGEST_SOON: Duration = Duration::from_millis(60);

/// How much earlier or later, in percent, something periodic happens, so that nodes do not fall into step.
pub const SPREAD_PERCENT: u64 = 25;

/// How long a gap waits before it is asked for: datagrams overtake each other.
pub const NACK_DELAY: Duration = Duration::from_millis(5);

/// Up to how much longer it waits, drawn anew each time: who draws the least asks for all.
pub const NACK_JITTER: Duration = Duration::from_millis(25);

/// After how long an unanswered NACK is sent again; doubled each time.
pub const NACK_RETRY: Duration = Duration::from_millis(100);

/// The longest time between two of them.
pub const NACK_RETRY_MAX: Duration = Duration::from_secs(4);

/// After how long a replica that differs from its origin, though it lacks nothing, is gone through again; doubled each time.
/// It differs while there was no room.
pub const SWEEP_RETRY: Duration = Duration::from_secs(2);

/// The longest time between two of them.
pub const SWEEP_RETRY_MAX: Duration = Duration::from_secs(120);

/// Up to how long a node waits before it tells an origin that a higher incarnation of it is known.
pub const OVERTAKEN_JITTER: Duration = Duration::from_millis(300);

/// Among how many incarnations above the one that others know a node draws its next. Incarnations are milliseconds, so it is
/// 4 s ahead of its clock at most.
pub const BEGUN_AGAIN_SPREAD: u64 = 4_096;

/// After how long without a word an origin is silent: nothing is asked of it any more, and others are asked for its slots.
pub const SILENT_AFTER: Duration = Duration::from_secs(7);

/// How often a node compares a page of origins with one other node.
pub const SUMMARY_PERIOD: Duration = Duration::from_secs(4);

/// The same while it joins.
pub const SUMMARY_PERIOD_JOINING: Duration = Duration::from_millis(300);

/// How long a node counts as joining: several digests of each origin.
pub const JOINING_FOR: Duration = Duration::from_secs(8);

/// Origins in one summary, so that it stays below the MTU.
pub const SUMMARY_ORIGINS_MAX: usize = 15;

/// Large values that are fetched at the same time; the others wait.
pub const FETCHES_MAX: usize = 32;

/// Parts that are asked for, and answered, at once: an answer is no burst that fills a socket's buffer.
pub const FETCH_PARTS_MAX: u32 = 16;

/// After how long a fetch asks again; doubled each time up to [`NACK_RETRY_MAX`].
pub const FETCH_RETRY: Duration = Duration::from_millis(150);

/// How often a fetch asks before it lets one that waits have its place.
pub const FETCH_TRIES_MAX: u32 = 8;

/// Nodes that have been forgotten and are remembered as such, so that nobody brings their slots back. The oldest go first:
/// by then every node has forgotten them.
pub const FORGOTTEN_MAX: usize = 1_024;

/// Digests of other domains' origins in one message of a relay: what stays below the MTU of the shortest ones.
pub const DIGESTS_MAX: usize = 32;

/// Links at a time on which a node tells relays of other domains what its domain says: two for each of the other domains that a
/// cluster has in practice, with room for those that are being replaced.
pub const LINKS_MAX: usize = 32;

/// How long the first relay gathers what came from another domain before it hands it on.
pub const HAND_ON_DELAY: Duration = Duration::from_millis(1);

/// How long each further relay waits for the one before it to have handed on the same: several times the way through the domain,
/// and far below what anybody would notice.
pub const STAND_BY_DELAY: Duration = Duration::from_millis(40);

/// For how long a digest that another relay has handed on need not be said again: less than passes between two of one origin.
pub const SPOKEN_FOR: Duration = Duration::from_millis(1_000);

/// Datagrams in one answer to a relay of another domain: it asks again for the rest.
pub const ANSWER_MAX: usize = 64;

/// What a reporter may send of one facet: a token bucket in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that come back a second.
    pub bytes_per_second: u64,
    /// Bytes that may go at once after a rest.
    pub burst_bytes: u64,
}

/// How much a node holds and sends. The default is for a cluster of 1,000 nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// State: every change matters, so the budget is what one node's share of a gigabit would carry.
    pub meta: Budget,
    /// Measurements: of a flood only the newest values are worth sending.
    pub stats: Budget,
    /// Slots of this node.
    pub own_slots_max: usize,
    /// Bytes of their values.
    pub own_bytes_max: usize,
    /// Other nodes whose slots are held.
    pub origins_max: usize,
    /// Slots of all other nodes together.
    pub slots_max: usize,
    /// Bytes of their values.
    pub bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            meta: Budget { bytes_per_second: 4 << 20, burst_bytes: 1 << 20 },
            stats: Budget { bytes_per_second: 1 << 20, burst_bytes: 256 << 10 },
            own_slots_max: 100_000,
            own_bytes_max: 32 << 20,
            origins_max: 1_024,
            slots_max: 600_000,
            bytes_max: 64 << 20,
        }
    }
}
