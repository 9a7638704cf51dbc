//! What was: the state at an earlier index, made again from a snapshot and the entries after it.
//!
//! Deliberately not here: anything before the anchor, which is the oldest snapshot kept.

use std::sync::Arc;

use acp_base::{Code, Failure};
use acp_core_cdb::{Outcome, State};
use acp_io_store::{Row, Store, StoreError};
use tokio::sync::Semaphore;

use crate::error::{read_failure, sentence};

/// States made at once. Each takes the memory of a replica while it is made.
const MAKING_MAX: usize = 1;

/// Makes earlier states. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct History {
    store: Arc<Store>,
    making: Arc<Semaphore>,
}

impl History {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, making: Arc::new(Semaphore::new(MAKING_MAX)) }
    }

    /// The state just after the entry with this index, which the store has.
    ///
    /// # Errors
    /// `FailedPrecondition` before the anchor, with the oldest index there is and its time.
    pub(crate) async fn at(&self, index: u64) -> Result<State, Failure> {
        let making = Arc::clone(&self.making).acquire_owned().await;
        let _making = making.map_err(|_closed| Failure::internal("nobody closes the semaphore"))?;
        let snapshot = match self.store.snapshot_before(index).await {
            Ok(snapshot) => snapshot,
            Err(StoreError::BeforeAnchor { anchor }) => return Err(before_anchor(index, anchor.index, anchor.time_ms)),
            Err(error) => return Err(read_failure(&error)),
        };
        let mut state = aside(move || match snapshot {
            Some(snapshot) => {
                State::restore(&snapshot.bytes).map_err(|error| Failure::new(Code::DataLoss, sentence(&error)))
            }
            None => Ok(State::default()),
        })
        .await?;
        while state.index() < index {
            let page = self.store.read(state.index() + 1, index).await.map_err(|error| read_failure(&error))?;
            if page.rows.is_empty() {
                return Err(Failure::new(Code::NotFound, format!("entry {index} has not been ordered yet")));
            }
            state = aside(move || apply(state, &page.rows)).await?;
        }
        Ok(state)
    }

    /// The entry with this index.
    pub(crate) async fn entry(&self, index: u64) -> Result<Row, Failure> {
        let page = self.store.read(index, index).await.map_err(|error| read_failure(&error))?;
        let row = page.rows.into_iter().next();
        row.ok_or_else(|| Failure::new(Code::NotFound, format!("entry {index} has not been ordered yet")))
    }
}

fn apply(mut state: State, rows: &[Row]) -> Result<State, Failure> {
    for row in rows {
        if let Outcome::Stalled(stall) = state.apply(&row.bytes) {
            return Err(stall.into());
        }
    }
    Ok(state)
}

/// Does what takes a while on a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::internal(format!("an earlier state could not be made: {error}"))))
}

fn before_anchor(index: u64, oldest: u64, time_ms: u64) -> Failure {
    Failure::precondition(format!(
        "specs at index {index} are no longer kept: the oldest that can be asked for is index {oldest}, ordered {time_ms} ms after 1970"
    ))
}
