//! Writing a history down while clients make their calls.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{Action, Operation};

/// Operations of a history: a client that records more than any check is meant for has lost its way.
const OPERATIONS_MAX: usize = 1_000_000;

/// A history in the making, shared by all clients.
#[derive(Debug)]
pub struct Recorder {
    started: Instant,
    operations: Mutex<Vec<Operation>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { started: Instant::now(), operations: Mutex::default() }
    }
}

impl Recorder {
    /// Now, on the clock of the history. Taken before a call is sent, and after its answer is there.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Keeps a call that was answered just now.
    pub fn answered(&self, object: u64, client: u64, begun: Duration, action: Action) {
        let ended = Some(self.now());
        self.keep(Operation { object, client, action, begun, ended });
    }

    /// Keeps a call that may have been done, now, later or never.
    pub fn unknown(&self, object: u64, client: u64, begun: Duration, action: Action) {
        self.keep(Operation { object, client, action, begun, ended: None });
    }

    /// How many calls are kept.
    pub fn len(&self) -> usize {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The history so far.
    pub fn history(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, operation: Operation) {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(operations.len() < OPERATIONS_MAX, "a history of more than {OPERATIONS_MAX} operations");
        operations.push(operation);
    }
}
