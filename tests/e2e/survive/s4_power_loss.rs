//! S4: the loss of power.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
