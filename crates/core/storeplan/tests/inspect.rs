//! `inspect` decides every sequence of bytes: a corpus of real and damaged headers, and random ones.

use acp_base::ByteSize;
use acp_core_storeplan::{Content, HEAD_BYTES, HeaderError, InspectError, Qcow2, RawKind, SizeError, inspect};
use proptest::prelude::*;

macro_rules! corpus {
    ($name:literal) => {
        &include_bytes!(concat!("corpus/", $name))[..]
    };
}

fn refusal(head: &[u8]) -> InspectError {
    inspect(head, 1 << 20).expect_err("is refused")
}

fn foreign(head: &[u8]) -> &'static str {
    match refusal(head) {
        InspectError::Foreign { what, .. } => what,
        other => panic!("{other}"),
    }
}

#[test]
fn images_of_both_versions_are_read() {
    for (head, version) in [(corpus!("qcow2-v2"), 2), (corpus!("qcow2-v3"), 3)] {
        let expected =
            Qcow2 { version, cluster_bits: 16, virtual_size: ByteSize::mib(1), backing: None, backing_format: None };
        assert_eq!(inspect(head, 196_624), Ok(Content::Qcow2(expected)));
    }
}

#[test]
fn the_backing_of_a_volume_is_read() {
    let header = Qcow2::parse(corpus!("qcow2-v3-backing")).expect("a header");
    assert_eq!(header.backing.as_deref(), Some("a.q"));
    assert_eq!(header.backing_format.as_deref(), Some("qcow2"));
}

#[test]
fn images_that_reach_for_other_files_are_refused() {
    let outside = refusal(corpus!("qcow2-v3-backing-outside"));
    assert_eq!(outside, InspectError::Backing("/etc/shadow".into()));
    assert_eq!(refusal(corpus!("qcow2-v3-backing")), InspectError::Backing("a.q".into()));
    assert_eq!(refusal(corpus!("qcow2-v3-data-file")), InspectError::Header(HeaderError::ExternalData));
}

#[test]
fn other_formats_are_named() {
    assert_eq!(foreign(corpus!("vdi")), "a VDI image");
    assert_eq!(foreign(corpus!("vmdk")), "a VMDK image");
    assert_eq!(foreign(corpus!("vhd")), "a VHD image");
    assert_eq!(foreign(corpus!("vhdx")), "a VHDX image");
    assert_eq!(foreign(corpus!("qed")), "a QED image");
    assert_eq!(refusal(corpus!("qcow-v1")), InspectError::Header(HeaderError::Version(1)));
}

#[test]
fn damaged_headers_are_refused_with_their_damage() {
    let damaged = |what| InspectError::Header(HeaderError::Damaged(what));
    let cut_off = InspectError::Header(HeaderError::CutOff);
    for (head, expected) in [
        (corpus!("qcow2-cut-off-60"), cut_off.clone()),
        (corpus!("qcow2-cut-off-103"), cut_off.clone()),
        (corpus!("qcow2-huge-header-length"), damaged("the header's length is out of range")),
        (corpus!("qcow2-huge-extension"), cut_off),
        (corpus!("qcow2-backing-offset-max"), damaged("the backing file's name lies outside the first cluster")),
        (corpus!("qcow2-backing-length-max"), damaged("the length of the backing file's name is out of range")),
        (corpus!("qcow2-size-max"), InspectError::Size(SizeError::TooLarge(ByteSize(u64::MAX)))),
        (corpus!("qcow2-size-zero"), InspectError::Size(SizeError::TooSmall)),
        (corpus!("qcow2-size-odd"), InspectError::Size(SizeError::Odd(4097))),
        (corpus!("qcow2-unknown-feature"), InspectError::Header(HeaderError::UnknownFeatures(1 << 63))),
        (corpus!("qcow2-corrupt"), InspectError::Header(HeaderError::Corrupt)),
        (corpus!("qcow2-cluster-bits-63"), damaged("the cluster size is out of range")),
        (corpus!("qcow2-version-4"), InspectError::Header(HeaderError::Version(4))),
        (corpus!("qcow2-encrypted"), InspectError::Header(HeaderError::Encrypted)),
    ] {
        assert_eq!(refusal(head), expected);
    }
}

#[test]
fn a_raw_disk_shows_that_it_is_one() {
    let mut head = vec![0; 4096];
    assert_eq!(inspect(&head, 4096), Err(InspectError::Unknown));
    assert_eq!(inspect(b"", 0), Err(InspectError::Empty));
    head[510..512].copy_from_slice(&[0x55, 0xaa]);
    let disk = Content::Raw { kind: RawKind::BootSector, size: ByteSize(4096) };
    assert_eq!(inspect(&head, 4096), Ok(disk));
    assert_eq!(inspect(&head, 4097), Err(InspectError::Size(SizeError::CutOff(4097))));
}

#[test]
fn every_prefix_of_the_corpus_is_decided() {
    for whole in [corpus!("qcow2-v2"), corpus!("qcow2-v3"), corpus!("qcow2-v3-backing"), corpus!("qcow2-v3-data-file")]
    {
        for length in 0..whole.len() {
            drop(inspect(&whole[..length], 1 << 20));
        }
        assert!(inspect(&whole[..72], 1 << 20).is_err() || whole[7] == 2);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decided(bytes in proptest::collection::vec(any::<u8>(), 0..2048), length in any::<u64>()) {
        if let Ok(content) = inspect(&bytes, length) {
            prop_assert!(content.virtual_size().bytes() > 0);
        }
    }

    /// Random damage to a real header, most of which keeps the magic and so reaches the parser's depths.
    #[test]
    fn any_damage_is_decided(edits in proptest::collection::vec((4_usize..600, any::<u8>()), 1..24), cut in 8_usize..1024) {
        let mut bytes = corpus!("qcow2-v3-backing").to_vec();
        for (offset, byte) in edits {
            bytes[offset] = byte;
        }
        bytes.truncate(cut);
        if let Ok(header) = Qcow2::parse(&bytes) {
            prop_assert!(header.backing.is_none_or(|name| name.len() <= 3 * 1023));
        }
    }

    #[test]
    fn long_heads_are_decided(seed in any::<u64>(), offset in 0_usize..HEAD_BYTES) {
        let mut head = vec![0; HEAD_BYTES];
        let bytes = seed.to_le_bytes();
        let end = (offset + bytes.len()).min(HEAD_BYTES);
        head[offset..end].copy_from_slice(&bytes[..end - offset]);
        let decided = inspect(&head, HEAD_BYTES as u64);
        prop_assert!(decided.is_ok() || decided.is_err_and(|error| !error.to_string().is_empty()));
    }
}
