//! The key that proves who this node is. It never leaves the node and outlives its memberships.
//!
//! Deliberately not here: the node's id, which the cluster service keeps, so that the log, the certificate and the objects name
//! one and the same.

use std::path::Path;

use acp_io_pki::{NodeKey, PkiError};

/// The node's key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) key: NodeKey,
}

impl Identity {
    /// The key kept in this directory; a new one if there is none yet. Durable when this returns.
    pub(crate) fn ensure(directory: &Path) -> Result<Self, PkiError> {
        Ok(Self { key: NodeKey::ensure(&directory.join("node.key"))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_the_same_key_after_each_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Identity::ensure(directory.path()).expect("made").key.fingerprint();
        assert_eq!(Identity::ensure(directory.path()).expect("read").key.fingerprint(), first);
        std::fs::write(directory.path().join("node.key"), "{").expect("written");
        Identity::ensure(directory.path()).expect_err("a damaged key is nobody's");
    }
}
