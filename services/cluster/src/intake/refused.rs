//! Why nothing of a source is believed any more.

use acp_base::Uid;

use crate::keys::Unsigned;

/// Why nothing of a source is believed any more. Nothing that it sent after the last good position was used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It speaks of another cluster.
    #[error("it is of cluster {found}")]
    Cluster {
        /// Which.
        found: Uid,
    },
    /// It speaks of an epoch that is over, or of one that does not follow.
    #[error("it is of epoch {found}, the log is in epoch {expected} there")]
    Epoch {
        /// The epoch here.
        expected: String,
        /// The epoch there.
        found: String,
    },
    /// A checkpoint came again after a newer one.
    #[error("its checkpoint at entry {index} is older than one that it has sent, at entry {newest}")]
    Replayed {
        /// The checkpoint's index.
        index: u64,
        /// The newest one's.
        newest: u64,
    },
    /// An entry came where another one was due.
    #[error("entry {found} came where entry {expected} was due")]
    Order {
        /// The next index.
        expected: u64,
        /// The entry's.
        found: u64,
    },
    /// The checkpoint's hash is not the chain's.
    #[error("its entries do not chain to its checkpoint at entry {index}")]
    Chain {
        /// The checkpoint's index.
        index: u64,
    },
    /// Nobody known has signed the checkpoint.
    #[error("its checkpoint does not count: {0}")]
    Signature(#[from] Unsigned),
    /// It sends entries and nobody vouches for them.
    #[error("{entries} entries have come without a checkpoint")]
    Unvouched {
        /// So many.
        entries: usize,
    },
    /// A neighbour has sent a snapshot.
    #[error("a snapshot is taken from controllers alone")]
    NeighbourSnapshot,
    /// A snapshot that nobody needs that large.
    #[error("its snapshot has {bytes} bytes")]
    SnapshotSize {
        /// So many.
        bytes: u64,
    },
    /// Pieces that do not make a whole.
    #[error("its snapshot came in pieces that do not follow each other")]
    Pieces,
    /// A snapshot that leads back.
    #[error("its snapshot would lead back from {from} to {to}")]
    Backwards {
        /// Where the replica stands.
        from: String,
        /// Where the snapshot stands.
        to: String,
    },
    /// Texts that are not what they should be.
    #[error("it cannot be read")]
    Encoding,
    /// The snapshot cannot be used.
    #[error("its snapshot cannot be used: {0}")]
    Snapshot(String),
}
