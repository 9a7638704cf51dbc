//! How large a disk may be.

use acp_base::ByteSize;

/// Disks are made of sectors of this size.
pub const SECTOR_BYTES: u64 = 512;

/// The smallest disk: one sector.
pub const DISK_BYTES_MIN: u64 = SECTOR_BYTES;

/// The largest disk, 64 TiB: what qcow2 with its usual clusters and ext4 hold without trouble.
pub const DISK_BYTES_MAX: u64 = 64 << 40;

/// Why a size is refused. The caller is at fault; nothing changed; a retry cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a whole number of sectors.
    #[error("a disk's size is a multiple of {SECTOR_BYTES} bytes, and {0} is none")]
    Odd(u64),
    /// Nothing at all.
    #[error("a disk has at least {DISK_BYTES_MIN} bytes")]
    TooSmall,
    /// Above the bound.
    #[error("a disk has at most {max}, and {0} is more", max = ByteSize(DISK_BYTES_MAX))]
    TooLarge(ByteSize),
    /// Below what there is.
    #[error("a disk is never made smaller: it has {present} ({} bytes), and {} bytes were asked for", present.bytes(), wanted.bytes())]
    Shrink {
        /// Its size.
        present: ByteSize,
        /// The size asked for.
        wanted: ByteSize,
    },
    /// A raw file that ends within a sector.
    #[error("its length of {0} bytes is no multiple of {SECTOR_BYTES}: it was cut off, or is no raw disk")]
    CutOff(u64),
}

/// Whether a disk may have this size.
pub fn check_size(size: ByteSize) -> Result<(), SizeError> {
    match size.bytes() {
        0..DISK_BYTES_MIN => Err(SizeError::TooSmall),
        bytes if bytes > DISK_BYTES_MAX => Err(SizeError::TooLarge(size)),
        bytes if !bytes.is_multiple_of(SECTOR_BYTES) => Err(SizeError::Odd(bytes)),
        _ => Ok(()),
    }
}

/// Whether a disk of this size may get that one.
pub fn check_expansion(present: ByteSize, wanted: ByteSize) -> Result<(), SizeError> {
    if wanted < present {
        return Err(SizeError::Shrink { present, wanted });
    }
    check_size(wanted)
}

/// Whether a file of this length can be a raw disk.
pub(crate) fn check_length(bytes: u64) -> Result<(), SizeError> {
    if bytes.is_multiple_of(SECTOR_BYTES) { Ok(()) } else { Err(SizeError::CutOff(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_where_they_are_said_to_be() {
        assert_eq!(check_size(ByteSize(0)), Err(SizeError::TooSmall));
        assert_eq!(check_size(ByteSize(511)), Err(SizeError::TooSmall));
        assert_eq!(check_size(ByteSize(512)), Ok(()));
        assert_eq!(check_size(ByteSize(513)), Err(SizeError::Odd(513)));
        assert_eq!(check_size(ByteSize(DISK_BYTES_MAX)), Ok(()));
        let above = ByteSize(DISK_BYTES_MAX + 512);
        assert_eq!(check_size(above), Err(SizeError::TooLarge(above)));
        assert_eq!(check_size(ByteSize(u64::MAX)), Err(SizeError::TooLarge(ByteSize(u64::MAX))));
    }

    #[test]
    fn a_disk_grows_or_stays() {
        let (small, large) = (ByteSize::mib(1), ByteSize::mib(2));
        assert_eq!(check_expansion(small, large), Ok(()));
        assert_eq!(check_expansion(small, small), Ok(()));
        assert_eq!(check_expansion(large, small), Err(SizeError::Shrink { present: large, wanted: small }));
        assert_eq!(check_expansion(small, ByteSize((1 << 20) + 1)), Err(SizeError::Odd((1 << 20) + 1)));
    }
}
