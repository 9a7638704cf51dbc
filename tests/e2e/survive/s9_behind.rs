//! S9: what somebody changed behind our back.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
