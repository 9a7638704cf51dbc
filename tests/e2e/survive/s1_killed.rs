//! S1: kill -9 of each daemon and of all at once, under a guest that answers and a console that is open.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
