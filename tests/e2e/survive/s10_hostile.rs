//! S10: a hostile client.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
