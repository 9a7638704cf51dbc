//! How much is held of all origins together.

use crate::limits::Config;

/// The bounds, and what is used of them.
#[derive(Debug)]
pub(crate) struct Room {
    config: Config,
    pub(crate) slots: usize,
    pub(crate) bytes: usize,
    /// Values that were not taken for want of room.
    pub(crate) refused: u64,
}

impl Room {
    pub(crate) const fn new(config: Config) -> Self {
        Self { config, slots: 0, bytes: 0, refused: 0 }
    }

    /// Whether there is room for a slot of `new` bytes in the place of one of `old`, among all and in its origin's share:
    /// nobody holds more of an origin than this origin may have.
    pub(crate) const fn has(&self, old: Option<usize>, new: usize, origin_slots: usize, origin_bytes: usize) -> bool {
        let (more, freed) = match old {
            Some(bytes) => (0, bytes),
            None => (1, 0),
        };
        self.slots + more <= self.config.slots_max
            && self.bytes + new - freed <= self.config.bytes_max
            && origin_slots + more <= self.config.own_slots_max + crate::limits::TOMBSTONES_HELD_MAX
            && origin_bytes + new - freed <= self.config.own_bytes_max
    }

    pub(crate) const fn add(&mut self, bytes: usize) {
        self.slots += 1;
        self.bytes += bytes;
    }

    pub(crate) const fn remove(&mut self, bytes: usize) {
        self.slots -= 1;
        self.bytes -= bytes;
    }
}
