//! How long is what, and how much is kept: the numbers of a ring and of the verdicts.
//!
//! A node that dies is noticed after, on average, half a probe period until somebody probes it, one period until that probe has
//! failed, the suspicion, and the confirmation: 0.2 + 0.4 + 1.5 + 0.5 s. The last two together outlast 2 s of silence, so that a
//! node whose network pauses that long is not declared dead.

use std::time::Duration;

/// Members of a ring, this node among them. One ring costs the same at any size without loss; suspicions are gossiped to all of
/// its members, so with loss the cost grows with it, and a ring falls silent together with the switch that it shares.
pub const RING_MEMBERS_MAX: usize = 64;

/// How often each member probes one other. With five members, four probers find a dead one within half a second.
pub const PROBE_PERIOD: Duration = Duration::from_millis(400);

/// When a probe that is not answered is repeated through others: far above a local network's round trip, and early enough
/// that the detour of four datagrams ends within the period.
pub const PROBE_RTT: Duration = Duration::from_millis(130);

/// Through how many others: all four must fail before a lossy path makes a suspect.
pub(crate) const INDIRECT_PROBES: usize = 4;

/// How long a suspect may refute. Below 1.5 s nodes were declared down falsely at 10 % loss.
pub const SUSPICION: Duration = Duration::from_millis(1_500);

/// How often news is passed on to [`INDIRECT_PROBES`] members beside what rides on probes: a suspicion reaches 64 members and
/// its refutation comes back within a third of [`SUSPICION`].
pub(crate) const GOSSIP_PERIOD: Duration = Duration::from_millis(100);

/// How often a member sends the same news: four times the decimal logarithm of the largest ring.
pub(crate) const TRANSMISSIONS: u8 = 8;

/// Bytes of one datagram before it is sealed: within 1,200 bytes with the seal and the headers of a tunnel around them.
pub const DATAGRAM_BYTES_MAX: usize = 1_100;

/// A timer later than this says that this node stood still: other programs on a busy host delay by some tens of milliseconds.
pub const STANDSTILL: Duration = Duration::from_millis(150);

/// How often members that are not in contact are called again.
pub const ANNOUNCE_PERIOD: Duration = Duration::from_secs(1);

/// The shortest time between two such rounds, however often there is a reason to call at once.
pub(crate) const ANNOUNCE_GAP: Duration = Duration::from_millis(100);

/// How many of them are called in one round: a dead member costs each other one datagram a second, 32 lost ones four.
pub(crate) const ANNOUNCE_MEMBERS_MAX: usize = 4;

/// How long nothing may have come over a session that has not ended before it is no proof of life: 2 s of silence and one
/// keep-alive period of half a second.
pub const MUTE: Duration = Duration::from_millis(2_500);

/// How long the hub waits for the answer to a confirmation. Time for a first try and one repetition by TCP after 200 ms.
pub const CONFIRMATION: Duration = Duration::from_millis(500);

/// How long an outcome counts before a node that the ring still calls dead is asked again: often enough to find one that came back
/// without a session, rarely enough that a cluster half of whose nodes are switched off spends little on it.
pub const CONFIRMATION_AGAIN: Duration = Duration::from_secs(5);

/// Confirmations on their way at once; when a whole ring of 64 seems dead, the others wait for half a second each round.
pub const CONFIRMATIONS_MAX: usize = 32;

/// Nodes of which verdicts are kept: as many as the largest cluster has members, and some that have just left.
pub const NODES_MAX: usize = 2_000;
