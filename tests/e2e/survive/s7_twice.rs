//! S7: the same disk started twice.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
