//! S6: full, read-only and failing file systems.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
