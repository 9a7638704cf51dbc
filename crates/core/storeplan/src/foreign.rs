//! Files that are something else than a disk image we take, recognised in order to say what they are.

/// What a file is that is no image for us, and what can be done about it.
struct Foreign {
    offset: usize,
    magic: &'static [u8],
    what: &'static str,
    cure: &'static str,
}

const CONVERT: &str = "convert it with qemu-img convert -O qcow2";
const UNPACK: &str = "unpack it first";
const OTHER: &str = "choose the disk image itself";

const fn foreign(offset: usize, magic: &'static [u8], what: &'static str, cure: &'static str) -> Foreign {
    Foreign { offset, magic, what, cure }
}

/// Signatures, the more specific first: a Linux kernel also begins like a Windows program and ends its first sector like
/// a boot sector.
const FOREIGN: [Foreign; 36] = [
    foreign(0, b"KDMV", "a VMDK image", CONVERT),
    foreign(0, b"COWD", "a VMDK image", CONVERT),
    foreign(0, b"# Disk DescriptorFile", "the descriptor of a VMDK image", CONVERT),
    foreign(0, b"<<< ", "a VDI image", CONVERT),
    foreign(64, &[0x7f, 0x10, 0xda, 0xbe], "a VDI image", CONVERT),
    foreign(0, b"conectix", "a VHD image", CONVERT),
    foreign(0, b"vhdxfile", "a VHDX image", CONVERT),
    foreign(0, b"QED\0", "a QED image", CONVERT),
    foreign(0, b"WithoutFreeSpace", "a Parallels image", CONVERT),
    foreign(0, b"WithouFreSpacExt", "a Parallels image", CONVERT),
    foreign(0, b"Bochs Virtual HD Image", "a Bochs image", CONVERT),
    foreign(0, &[0x1f, 0x8b], "a gzip archive", UNPACK),
    foreign(0, &[0xfd, b'7', b'z', b'X', b'Z', 0], "an xz archive", UNPACK),
    foreign(0, &[0x28, 0xb5, 0x2f, 0xfd], "a zstd archive", UNPACK),
    foreign(0, &[0x04, 0x22, 0x4d, 0x18], "an lz4 archive", UNPACK),
    foreign(0, b"BZh", "a bzip2 archive", UNPACK),
    foreign(0, b"PK\x03\x04", "a zip archive", UNPACK),
    foreign(0, b"PK\x05\x06", "an empty zip archive", OTHER),
    foreign(0, &[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], "a 7z archive", UNPACK),
    foreign(0, b"Rar!\x1a\x07", "a rar archive", UNPACK),
    foreign(257, b"ustar", "a tar archive", UNPACK),
    foreign(0, b"070701", "a cpio archive, such as an initramfs", OTHER),
    foreign(0, b"!<arch>\n", "an ar archive, such as a Debian package", OTHER),
    foreign(0, b"\x7fELF", "an ELF program", OTHER),
    foreign(514, b"HdrS", "a Linux kernel", OTHER),
    foreign(0, b"MZ", "an EFI or Windows program", OTHER),
    foreign(0, b"#!", "a script", OTHER),
    foreign(0, b"%PDF-", "a PDF document", OTHER),
    foreign(0, b"\x89PNG", "a picture", OTHER),
    foreign(0, &[0xff, 0xd8, 0xff], "a picture", OTHER),
    foreign(0, b"GIF8", "a picture", OTHER),
    foreign(0, b"SQLite format 3\0", "an SQLite database", OTHER),
    foreign(0, b"version https://git-lfs", "a pointer of Git LFS, not the file it points to", OTHER),
    foreign(0, b"{", "a JSON document", OTHER),
    foreign(0, b"<?xml", "an XML document", OTHER),
    foreign(0, b"-----BEGIN ", "a PEM file", OTHER),
];

/// How much of the beginning decides whether a file is text.
const TEXT_BYTES: usize = 512;

/// What the file is, if its beginning shows that it is something else than a disk: a noun with article, and a cure.
pub(crate) fn recognise(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let signature = FOREIGN.iter().find(|known| head.get(known.offset..).is_some_and(|at| at.starts_with(known.magic)));
    if let Some(known) = signature {
        return Some((known.what, known.cure));
    }
    if is_html(head) {
        return Some(("an HTML page", "the server may have answered with a page about the file; check the URL"));
    }
    is_text(head).then_some(("a text", OTHER))
}

fn is_html(head: &[u8]) -> bool {
    let begin = head.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(head.len());
    let starts = |tag: &[u8]| head[begin..].get(..tag.len()).is_some_and(|at| at.eq_ignore_ascii_case(tag));
    [&b"<!doctype html"[..], b"<html", b"<head", b"<body"].into_iter().any(starts)
}

fn is_text(head: &[u8]) -> bool {
    let sample = &head[..head.len().min(TEXT_BYTES)];
    !sample.is_empty()
        && sample.iter().all(|&byte| byte >= 0x20 && byte != 0x7f || byte.is_ascii_whitespace())
        && std::str::from_utf8(sample).map_or_else(|error| error.error_len().is_none(), |_text| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_found_and_named() {
        for known in &FOREIGN {
            let mut head = vec![0; known.offset];
            head.extend_from_slice(known.magic);
            head.resize(1024, 0);
            assert_eq!(recognise(&head), Some((known.what, known.cure)));
        }
    }

    #[test]
    fn pages_and_texts_are_told_from_disks() {
        assert_eq!(recognise(b"\n <!DOCTYPE HTML><p>404").map(|found| found.0), Some("an HTML page"));
        assert_eq!(recognise("Grüße\n".as_bytes()).map(|found| found.0), Some("a text"));
        assert_eq!(recognise(&[0; 512]), None);
        assert_eq!(recognise(b""), None);
    }
}
