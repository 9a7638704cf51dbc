//! S13: a new build in place of the old one.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
