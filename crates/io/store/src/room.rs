//! Whether a file system has room: looked at before something is promised, since a promise that cannot be kept is worse than
//! a refusal.

use std::path::Path;

/// What a file system must have free before anything more is taken: the write-ahead log's pages of several batches.
const ROOM_MIN: u64 = 256 << 10;

/// Whether the file system of this directory has room for more. One that does not say is believed to have.
pub fn has_room(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).map_or(true, |stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= ROOM_MIN)
}
