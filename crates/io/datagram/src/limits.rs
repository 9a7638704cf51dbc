//! Every bound of sealed datagrams and their sockets, with its reason.

use std::time::Duration;

/// Bytes of the largest datagram, as UDP carries it: with the headers of UDP and IPv6 it stays below the 1,500 of Ethernet and
/// leaves 52 for a tunnel.
pub const MTU_BYTES: usize = 1_400;

/// Bytes of a datagram in front of what is sealed: see `docs/datagrams.md`.
pub const HEADER_BYTES: usize = 54;

/// Bytes of the authentication tag behind it.
pub const TAG_BYTES: usize = 16;

/// What sealing adds to a datagram.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// The most that one datagram carries.
pub const PAYLOAD_BYTES_MAX: usize = MTU_BYTES - OVERHEAD_BYTES;

/// Datagrams that a process may seal: with 2^40 of 88 blocks each, AES-GCM is still told from random with a probability below
/// 2^-36 (2^46.5 blocks, squared, over 2^129), and at 100,000 a second it is reached after four months. A caller who gets
/// there makes a new sealer.
pub const COUNTER_MAX: u64 = 1 << 40;

/// Words of a replay window. The word of the newest counter is not full, so one less than these can be told.
pub const WINDOW_WORDS: usize = 16;

/// How far behind the newest one a counter may be. Datagrams are reordered by some places; what is later than this was read
/// from a queue that overflows anyway.
pub const WINDOW_COUNTERS: u64 = (WINDOW_WORDS as u64 - 1) * 64;

/// Senders that are remembered, at about 2 KB each. A domain has up to a thousand nodes; beyond this the one that was silent
/// longest is forgotten.
pub const SENDERS_MAX: usize = 2_048;

/// A refusal of one reason and sender is logged once in this time: often enough to be found, seldom enough that whoever sends
/// nonsense does not fill a disk.
pub const LOG_WINDOW: Duration = Duration::from_secs(60);

/// Refusals that are logged in one such time. Who made a refused datagram is not known, so that names alone bound nothing.
pub const LOGGED_MAX: usize = 64;

/// What is asked for as a socket's receive buffer: 4 MiB hold 1,800 full datagrams with the kernel's own cost of each, which is
/// 100 ms of a busy domain. The kernel grants no more than `net.core.rmem_max`.
pub const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Datagrams that are taken from one socket at once, before anything else has its turn.
pub const BATCH: usize = 32;
