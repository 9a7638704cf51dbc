//! What the bytes of a raw disk may begin with.

use std::fmt;

/// What a raw disk holds, as its beginning shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawKind {
    /// A boot sector or a partition table: signature 55 AA at the end of the first sector.
    BootSector,
    /// A GUID partition table.
    Gpt,
    /// An ext2, ext3 or ext4 file system.
    Ext,
    /// An XFS file system.
    Xfs,
    /// A Btrfs file system.
    Btrfs,
    /// A squashfs file system.
    Squashfs,
    /// An EROFS file system.
    Erofs,
    /// An ISO 9660 file system.
    Iso9660,
    /// An encrypted volume.
    Luks,
    /// A physical volume of LVM.
    Lvm,
    /// A swap area.
    Swap,
}

struct Signature {
    offset: usize,
    magic: &'static [u8],
    kind: RawKind,
}

/// Offsets and magics as the file systems document them; GPT with sectors of 512 and of 4096 bytes.
const SIGNATURES: [Signature; 12] = [
    Signature { offset: 512, magic: b"EFI PART", kind: RawKind::Gpt },
    Signature { offset: 4096, magic: b"EFI PART", kind: RawKind::Gpt },
    Signature { offset: 32769, magic: b"CD001", kind: RawKind::Iso9660 },
    Signature { offset: 1080, magic: &[0x53, 0xef], kind: RawKind::Ext },
    Signature { offset: 0, magic: b"XFSB", kind: RawKind::Xfs },
    Signature { offset: 65600, magic: b"_BHRfS_M", kind: RawKind::Btrfs },
    Signature { offset: 0, magic: b"hsqs", kind: RawKind::Squashfs },
    Signature { offset: 1024, magic: &[0xe2, 0xe1, 0xf5, 0xe0], kind: RawKind::Erofs },
    Signature { offset: 0, magic: b"LUKS\xba\xbe", kind: RawKind::Luks },
    Signature { offset: 512, magic: b"LABELONE", kind: RawKind::Lvm },
    Signature { offset: 4086, magic: b"SWAPSPACE2", kind: RawKind::Swap },
    Signature { offset: 510, magic: &[0x55, 0xaa], kind: RawKind::BootSector },
];

/// What the disk holds, if anything known.
pub(crate) fn recognise(head: &[u8]) -> Option<RawKind> {
    let found = SIGNATURES.iter().find(|known| head.get(known.offset..).is_some_and(|at| at.starts_with(known.magic)));
    found.map(|known| known.kind)
}

impl fmt::Display for RawKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BootSector => "a boot sector",
            Self::Gpt => "a partition table",
            Self::Ext => "an ext file system",
            Self::Xfs => "an XFS file system",
            Self::Btrfs => "a Btrfs file system",
            Self::Squashfs => "a squashfs file system",
            Self::Erofs => "an EROFS file system",
            Self::Iso9660 => "an ISO 9660 file system",
            Self::Luks => "an encrypted volume",
            Self::Lvm => "an LVM physical volume",
            Self::Swap => "a swap area",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_found_where_it_belongs_and_nowhere_else() {
        for known in &SIGNATURES {
            let mut head = vec![0; known.offset + known.magic.len()];
            head[known.offset..].copy_from_slice(known.magic);
            assert_eq!(recognise(&head), Some(known.kind));
            head.insert(0, 0);
            assert_eq!(recognise(&head), None, "{} is not there one byte further", known.kind);
            assert_eq!(recognise(&head[..known.offset + known.magic.len() - 1]), None, "{} is cut off", known.kind);
        }
    }
}
