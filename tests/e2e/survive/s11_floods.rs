//! S11: guests that take all they can get.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
