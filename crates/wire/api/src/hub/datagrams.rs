//! Group keys for datagrams between nodes.

use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// See [`SyncKeys`](super::SyncKeys).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct SyncKeysRequest {
    /// The newest key that the calling node opens datagrams with; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<u32>,
}

/// A group key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct SyncKey {
    /// Which one; a newer one has a higher number.
    pub number: u32,
    /// 32 bytes in hexadecimal digits. A secret: it is never logged and never on a disk.
    pub secret: String,
}

impl std::fmt::Debug for SyncKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncKey").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for SyncKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

/// See [`SyncKeys`](super::SyncKeys).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct SyncKeysReply {
    /// The keys to open with, the newest first: one or two. A key that is not among them opens nothing any more.
    pub keys: Vec<SyncKey>,
    /// The number of the one among them to seal with.
    pub seal: u32,
    /// `<number>-<id>` of the epoch in which they count: those of another one are forgotten, whatever their numbers are.
    pub epoch: String,
}
