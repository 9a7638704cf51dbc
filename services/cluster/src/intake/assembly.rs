//! A snapshot's pieces on their way to being whole.

use acp_base::from_base64;
use acp_wire_api::cluster::SnapshotPiece;

use super::Refused;

/// Bytes of a snapshot: what 100,000 objects and a million tombstones take, twice.
const SNAPSHOT_BYTES_MAX: u64 = 512 << 20;

/// The pieces so far: they come in order, of one snapshot.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    index: u64,
    total: usize,
    bytes: Vec<u8>,
}

impl Assembly {
    /// Whether a snapshot is on its way.
    pub(super) const fn is_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Adds a piece; answers the whole if it was the last.
    pub(super) fn add(&mut self, piece: SnapshotPiece) -> Result<Option<Vec<u8>>, Refused> {
        if piece.total > SNAPSHOT_BYTES_MAX || piece.total == 0 {
            return Err(Refused::SnapshotSize { bytes: piece.total });
        }
        let total = usize::try_from(piece.total).map_err(|_large| Refused::SnapshotSize { bytes: piece.total })?;
        if !self.is_begun() {
            (self.index, self.total) = (piece.index, total);
        }
        let bytes = from_base64(&piece.bytes).filter(|bytes| !bytes.is_empty()).ok_or(Refused::Encoding)?;
        let is_next = usize::try_from(piece.offset) == Ok(self.bytes.len());
        if !is_next || (piece.index, total) != (self.index, self.total) || bytes.len() > total - self.bytes.len() {
            return Err(Refused::Pieces);
        }
        self.bytes.extend(bytes);
        Ok((self.bytes.len() == total).then(|| std::mem::take(&mut self.bytes)))
    }
}
