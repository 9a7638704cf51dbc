//! S12: who may do and read what.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
