//! S2: kill -9 of what daemons start: QEMU, a shim, dnsmasq, a pool worker.

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[];
