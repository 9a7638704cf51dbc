//! Who this node is: an id, and a key that never leaves it.
//!
//! **Invariant**: no id has two memberships: an id that has left or was removed is refused for good, as certificates of it may
//! still count. The key outlives them all.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use acp_base::Uid;
use acp_io_daemon::new_uid;
use acp_io_pki::{NodeKey, PkiError};
use acp_io_record::RecordError;
use serde::{Deserialize, Serialize};

use crate::persist;

/// The layout of the identity's record.
const VERSION: u64 = 1;

/// The node's id and key.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The id of the membership, or with which the next one begins.
    uid: Mutex<Uid>,
    path: PathBuf,
    pub(crate) key: NodeKey,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    uid: Uid,
}

/// Why the node does not know who it is. Each is the operator's; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("the node's id cannot be read")]
    Record(#[from] RecordError),
    #[error("the node's id cannot be kept")]
    Keep(#[source] io::Error),
    #[error("the node's key cannot be used")]
    Key(#[from] PkiError),
}

impl Identity {
    /// The identity kept in this directory; a new one if there is none yet. Durable when this returns.
    pub(crate) fn ensure(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join("node.json");
        let uid = match acp_io_record::read::<Record>(&path, VERSION)? {
            Some(record) => record.uid,
            None => {
                let uid = new_uid();
                persist::replace(&path, VERSION, &Record { uid }).map_err(IdentityError::Keep)?;
                uid
            }
        };
        let key = NodeKey::ensure(&directory.join("node.key"))?;
        Ok(Self { uid: Mutex::new(uid), path, key })
    }

    pub(crate) fn uid(&self) -> Uid {
        *self.uid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new id, for the next membership. Durable when this returns. Blocks.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let uid = new_uid();
        persist::replace(&self.path, VERSION, &Record { uid })?;
        *self.uid.lock().unwrap_or_else(PoisonError::into_inner) = uid;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_the_same_after_each_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Identity::ensure(directory.path()).expect("made");
        let second = Identity::ensure(directory.path()).expect("read");
        assert_eq!((first.uid(), first.key.fingerprint()), (second.uid(), second.key.fingerprint()));
        second.renew().expect("kept");
        let third = Identity::ensure(directory.path()).expect("read");
        assert_eq!((second.uid(), second.key.fingerprint()), (third.uid(), third.key.fingerprint()));
        assert_ne!(first.uid(), third.uid());
        std::fs::write(directory.path().join("node.json"), "{").expect("written");
        Identity::ensure(directory.path()).expect_err("a damaged id is nobody's");
    }
}
