//! S3: daemons that stand still instead of being dead.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
