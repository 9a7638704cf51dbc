//! What was: the state at an earlier index, made again from a snapshot and the entries after it.
//!
//! Deliberately not here: anything before the anchor, which is the oldest snapshot kept.

use std::sync::Arc;

use acp_base::{Code, Failure, WallTime};
use acp_core_cdb::{Database, Outcome, Selector, State, View};
use acp_io_store::{Anchor, Row, Store, StoreError};
use acp_wire_model::Kind;
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
            Err(StoreError::BeforeAnchor { anchor }) => return Err(before_anchor(index, anchor)),
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

    /// The declared objects of these kinds (none: of all) under these conditions just after the entry with this index, in the
    /// order of their names, and when it was ordered.
    pub(crate) async fn list(
        &self,
        index: u64,
        kinds: Vec<Kind>,
        selectors: Vec<Selector>,
    ) -> Result<(Vec<View>, WallTime), Failure> {
        let state = self.at(index).await?;
        aside(move || {
            let time = state.time();
            let mut views = Database::new(state).list(&kinds);
            views.retain(|view| selectors.iter().all(|selector| selector.matches(view)));
            Ok((views, time))
        })
        .await
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

fn before_anchor(index: u64, oldest: Anchor) -> Failure {
    let Anchor { index: oldest, time_ms, hash: _ } = oldest;
    Failure::precondition(format!(
        "specs at index {index} are no longer kept: the oldest that can be asked for is index {oldest}, ordered at {}",
        WallTime(time_ms)
    ))
}
