//! Every bound of a link, with its reason.

use std::time::Duration;

/// How long a handshake may take: three round trips to the other end of the world and a busy host.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Handshakes under way at once. Each holds about 40 KB; beyond it the oldest is given up for the newest, so that somebody
/// who only connects keeps nobody out for longer than it takes others to try.
pub const HANDSHAKES_MAX: usize = 256;

/// Handshakes under way from one address: a node has no reason for more than its classes.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 32;

/// How long a refused peer may take to read why, and the most that is taken of what it still sends.
pub const PARTING_LIMIT: Duration = Duration::from_millis(500);
/// See [`PARTING_LIMIT`].
pub const PARTING_BYTES_MAX: u64 = 64 * 1024;

/// Open conversations on one link in one direction. A node's services have some dozens each with a peer.
pub const CONVERSATIONS_MAX: u32 = 256;

/// Bytes of an opening in its header. It names a service and a context; a forwarded key is the longest part.
pub const OPENING_BYTES_MAX: usize = 8 * 1024;

/// Bytes of all headers of a request.
pub const HEADERS_BYTES_MAX: u32 = 16 * 1024;

/// Bytes in flight of one conversation: enough for what calls say, since bulk has connections of its own, and little enough
/// for a small call beside a busy stream to stay under a millisecond (docs/adr/0011).
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// Bytes in flight of all conversations of a link: as many as its conversations together, so that those whose callers do not
/// read, a pager or a console that was stopped, never take the room of others.
pub const LINK_WINDOW_BYTES: u32 = CONVERSATIONS_MAX * STREAM_WINDOW_BYTES;

/// Bytes of one chunk: with the nine of a frame's header it fills a TLS record.
pub const CHUNK_BYTES: usize = 16_375;

/// Chunks that wait between a conversation and its link.
pub const CHUNKS_MAX: usize = 4;

/// A link that is silent for so long is asked whether it lives, and is closed if it does not answer as long again.
pub const KEEPALIVE: Duration = Duration::from_secs(5);

/// How long opening a conversation may take when the caller has named no deadline.
pub const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// How long a dialled address may take to answer at all.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Streams that a peer may have reset while they were being opened; a flood of them closes the link (CVE-2023-44487).
pub const RESETS_MAX: usize = 64;

/// Bytes that a splice moves at once: fewer system calls than with a TLS record's 16 KiB, and still in the cache.
pub const SPLICE_BYTES: usize = 64 * 1024;

/// Bytes that a splice moves at once until there were so many: what calls say, of which a node carries thousands, each with two
/// of these.
pub const SPLICE_FIRST_BYTES: usize = 4 * 1024;
