//! Every bound and period of the self-test, with its reason.

use std::time::Duration;

/// How often a node looks at its peers. Everything that is due is done then.
pub const TICK: Duration = Duration::from_millis(200);

/// Ticks from one multicast probe to the next: five have to be lost in a row before a peer is heard no more, once in 100,000
/// at 10 % loss. Thousand nodes cost each of them 2,500 small datagrams a second.
pub const PROBE_TICKS: u64 = 2;

/// A peer from which no multicast came for so long is heard no more.
pub const HEARD_LIMIT: Duration = Duration::from_millis(2_300);

/// Multicast towards a peer that has not confirmed for so long that it hears is given up. Together with [`HEARD_LIMIT`], which its
/// last confirmation may be old, and a tick that is 4.9 s.
pub const CONFIRM_LIMIT: Duration = Duration::from_millis(2_400);

/// How long a peer must have heard, without a break, before multicast towards it begins for the first time.
pub const HOLD_FIRST: Duration = Duration::from_secs(1);

/// The same after multicast was given up; it doubles each time until [`HOLD_MAX`], so that a link that comes and goes is left alone.
pub const HOLD_MIN: Duration = Duration::from_secs(5);

/// See [`HOLD_MIN`]. An operator who has mended a switch sees it within a minute.
pub const HOLD_MAX: Duration = Duration::from_secs(60);

/// Multicast that has worked for so long has a clean record: the next hold is [`HOLD_MIN`] again.
pub const STABLE: Duration = Duration::from_secs(300);

/// A tick later than this means that this process did not run. What it has not heard meanwhile says nothing of its peers.
pub const LATE_LIMIT: Duration = Duration::from_secs(1);

/// How often a peer is asked by unicast, at most, and how long it may take to answer.
pub const ECHO_PERIOD: Duration = Duration::from_secs(1);

/// Peers that are asked in one tick: 80 a second, so that a thousand are measured in 13 s at 10 KB/s.
pub const ECHOES_PER_TICK: usize = 16;

/// Of these, how many at most go first to peers that are heard but do not hear: only unicast tells them that they are heard.
/// Peers beyond them fall back, too, which is safe.
pub const FIRST_ECHOES_PER_TICK: usize = 12;

/// How often the largest datagram is tried towards a peer that it has reached.
pub const SIZE_PERIOD: Duration = Duration::from_secs(5);

/// How often in a row a size does not come back before a smaller one is tried: at 10 % loss on both ways once in 4,000.
pub const SIZE_FAILURES_MAX: u8 = 5;

/// Peers to which a size is tried in one tick: 5 a second, at most 7 KB/s; a thousand are known after minutes, five within seconds.
pub const SIZES_PER_TICK: usize = 1;

/// A peer that asks sooner than this after it was answered is not answered: that is a flood.
pub const ANSWER_GAP: Duration = Duration::from_millis(100);

/// Members that take part; for others multicast is not used. A bit for each of them makes 512 of the 1,330 bytes of a datagram.
pub const MEMBERS_MAX: usize = 4_096;

/// Echoes, and multicast probes, over which loss is measured: 64 bits.
pub const SAMPLES_MAX: u32 = 64;

/// Clock offsets and round trips that are kept; the one with the shortest round trip is believed (RFC 5905, 10).
pub const CLOCK_SAMPLES: usize = 8;
