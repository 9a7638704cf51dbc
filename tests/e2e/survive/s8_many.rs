//! S8: many systems by many clients at once.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
