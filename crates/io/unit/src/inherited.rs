//! Descriptors that came uninvited.

use std::io;

use nix::libc;

/// Makes every descriptor above the three standard ones close on exec, so that what this process starts has none that it was
/// not given. Descriptors stay open in this process itself.
///
/// # Errors
/// When the kernel is older than 5.11.
#[expect(unsafe_code, reason = "neither rustix nor nix wraps close_range(2)")]
pub fn close_on_exec() -> io::Result<()> {
    let flags = i32::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or_default();
    // SAFETY: with CLOSE_RANGE_CLOEXEC the call closes nothing; it sets a flag on descriptors, which no owner relies on being
    // unset: whoever passes a descriptor on clears it in the new process.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
