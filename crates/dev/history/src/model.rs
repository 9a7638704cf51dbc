//! A register: what can be asked of it, and what it then holds.

use std::time::Duration;

/// What a client asked and was told. Values are the test's: no two calls write the same one to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It was read and held this; absent: it was not there.
    Read(Option<u64>),
    /// It was made or overwritten with this.
    Write(u64),
    /// It was to change from one value to the other. `done` says whether it did: refused is what does not hold the first one.
    Swap {
        /// The value that it was to have.
        from: u64,
        /// The value that it gets.
        to: u64,
        /// Whether it did.
        done: bool,
    },
}

/// A call with its time on the clock that all clients share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which object.
    pub object: u64,
    /// Who asked.
    pub client: u64,
    /// What was asked and answered. For a call whose outcome is unknown: as if it had been done.
    pub action: Action,
    /// When it began.
    pub begun: Duration,
    /// When it was answered; absent: nobody knows what became of it.
    pub ended: Option<Duration>,
}

impl Action {
    /// What the register holds after this, if the answer fits what it held before.
    pub(crate) fn step(self, held: Option<u64>) -> Option<Option<u64>> {
        match self {
            Self::Read(seen) => (seen == held).then_some(held),
            Self::Write(value) => Some(Some(value)),
            Self::Swap { from, to, done: true } => (held == Some(from)).then_some(Some(to)),
            Self::Swap { from, done: false, .. } => (held != Some(from)).then_some(held),
        }
    }

    /// The value that it is about: the new one of a change.
    pub const fn value(self) -> Option<u64> {
        match self {
            Self::Read(value) => value,
            Self::Write(value) | Self::Swap { to: value, .. } => Some(value),
        }
    }

    /// The value that it puts there.
    pub(crate) const fn written(self) -> Option<u64> {
        match self {
            Self::Write(value) | Self::Swap { to: value, done: true, .. } => Some(value),
            Self::Read(_) | Self::Swap { .. } => None,
        }
    }

    /// The value that it has found there.
    pub(crate) const fn found(self) -> Option<u64> {
        match self {
            Self::Read(found) => found,
            Self::Swap { from, done: true, .. } => Some(from),
            Self::Write(_) | Self::Swap { .. } => None,
        }
    }

    /// Whether it is a swap that was refused.
    pub(crate) const fn is_refusal(self) -> bool {
        matches!(self, Self::Swap { done: false, .. })
    }
}
