//! Telling threads that the soak is over, also while they pause.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Set once.
#[derive(Debug, Default)]
pub(super) struct Stop {
    is_over: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// The soak is over.
    pub(super) fn end(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Pauses for that long, less if the soak ends meanwhile; answers whether it is over.
    pub(super) fn wait_for_end(&self, limit: Duration) -> bool {
        let guard = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, limit, |is_over| !*is_over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
