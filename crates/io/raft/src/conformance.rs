//! Openraft's own suite over the real store.

use std::sync::Arc;

use acp_base::Uid;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::{
    applier::{Applier, Replica},
    machine::Machine,
    store::{Log, Place, SYSTEM_VFS, Store},
    types::{StorageError, Types, Voter},
};

impl From<u64> for Voter {
    fn from(number: u64) -> Self {
        Self(Uid::from_u128(u128::from(number)))
    }
}

/// Counts what it is given.
#[derive(Default)]
struct Counter(u64);

impl Machine for Counter {
    type Answer = u64;

    fn apply(&mut self, _command: &[u8]) -> u64 {
        self.0 += 1;
        self.0
    }

    fn image(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let count = self.0;
        Box::new(move || count.to_le_bytes().to_vec())
    }

    fn restore(&mut self, image: &[u8]) -> Result<(), String> {
        self.0 = u64::from_le_bytes(image.try_into().map_err(|_length| "not eight bytes")?);
        Ok(())
    }
}

struct Builder;

impl StoreBuilder<Types, Log, Applier<Counter>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Applier<Counter>), StorageError> {
        let directory = tempfile::tempdir().expect("a directory");
        let place =
            Place { vfs: SYSTEM_VFS.to_owned(), directory: directory.path().to_owned(), node: Uid::from_u128(1) };
        let (store, recovered) = Store::open(place).await.expect("a new store");
        store.assume_covered();
        let log = Log::new(store.clone(), &recovered, Voter(Uid::from_u128(1)));
        let (applier, _back) = Applier::lend(Replica::new(Counter::default()), store, u64::MAX, Arc::default());
        Ok((directory, log, applier))
    }
}

#[test]
fn the_store_is_as_openraft_wants_it() {
    Suite::test_all(Builder).expect("conforms");
}
