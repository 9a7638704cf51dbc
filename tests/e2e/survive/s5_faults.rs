//! S5: an error and a kill at every step of every operation.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
