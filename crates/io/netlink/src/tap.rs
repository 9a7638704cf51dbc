//! Taps.

use std::{
    ffi::c_short,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::fs::{Mode, OFlags};

/// The device that makes taps.
pub const TUN_DEVICE: &str = "/dev/net/tun";

/// Room for a link's name with its terminator (`IFNAMSIZ`).
const NAME_SIZE: usize = 16;
/// Frames of Ethernet (`IFF_TAP`), without a header of the driver's own (`IFF_NO_PI`), each preceded by a
/// `virtio_net_hdr` (`IFF_VNET_HDR`): what QEMU's virtio-net wants to leave checksums to the host.
const TAP_FLAGS: c_short = 0x0002 | 0x1000 | 0x4000;

/// Why a tap could not be opened. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name does not fit. A defect of ours.
    #[error("{0:?} is no link name")]
    BadName(String),
    /// The device cannot be opened: the operator gives this service access to it or loads the module `tun`.
    #[error("cannot open {TUN_DEVICE}")]
    Device(#[source] io::Error),
    /// Another process holds the tap: its system is still running. A repeat can help.
    #[error("the tap {0} is in use by a running process")]
    Busy(String),
    /// The kernel made none; without CAP_NET_ADMIN it never does.
    #[error("the kernel made no tap {name}")]
    Refused {
        /// The tap's name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// `struct ifreq` as TUNSETIFF reads it: a name, flags, and the rest of the kernel's union.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_SIZE],
    flags: c_short,
    padding: [u8; 22],
}

mod ioctl {
    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<nix::libc::c_int>()),
        super::InterfaceRequest
    );
}

/// Makes the tap `name` in the network namespace of the calling thread. It is down, without alias and attached to nothing;
/// it vanishes with the last copy of the descriptor, which does not block and is closed on exec.
pub fn open_tap(name: &str) -> Result<OwnedFd, TapError> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= NAME_SIZE || bytes.contains(&0) || bytes.contains(&b'%') {
        return Err(TapError::BadName(name.to_owned()));
    }
    let mut request = InterfaceRequest { name: [0; NAME_SIZE], flags: TAP_FLAGS, padding: [0; 22] };
    request.name[..bytes.len()].copy_from_slice(bytes);
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device =
        rustix::fs::open(TUN_DEVICE, flags, Mode::empty()).map_err(|errno| TapError::Device(io::Error::from(errno)))?;
    #[expect(unsafe_code, reason = "TUNSETIFF is an ioctl")]
    // SAFETY: the descriptor is open for the duration of the call, the request is a valid `struct ifreq` of the size that
    // the kernel copies, its name is terminated, and the kernel keeps no pointer to it.
    let result = unsafe { ioctl::set_interface(device.as_raw_fd(), &raw const request) };
    match result {
        Ok(_) => Ok(device),
        Err(nix::errno::Errno::EBUSY) => Err(TapError::Busy(name.to_owned())),
        Err(errno) => Err(TapError::Refused { name: name.to_owned(), source: io::Error::from(errno) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_size_of_the_kernels() {
        assert_eq!(size_of::<InterfaceRequest>(), size_of::<nix::libc::ifreq>());
        assert_eq!(std::mem::offset_of!(InterfaceRequest, flags), NAME_SIZE);
    }

    #[test]
    fn names_that_the_kernel_would_read_otherwise_are_refused() {
        for bad in ["", "sixteen-bytes-xx", "tap%d", "a\0b"] {
            assert!(matches!(open_tap(bad), Err(TapError::BadName(name)) if name == bad), "{bad}");
        }
    }
}
