//! The header of a qcow2 file, versions 2 and 3, as QEMU's `docs/interop/qcow2.txt` describes it.

use acp_base::ByteSize;

/// First bytes of every qcow and qcow2 file.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Cluster sizes from 512 bytes to 2 MiB, the range QEMU accepts.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// The longest backing file name, by the format's definition.
const BACKING_NAME_BYTES_MAX: u32 = 1023;

/// More header extensions than any writer makes; a bound for the loop over them.
const EXTENSIONS_MAX: usize = 64;

const HEADER_BYTES_V2: u32 = 72;
const HEADER_BYTES_V3: u32 = 104;
const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

const FEATURE_CORRUPT: u64 = 1 << 1;
const FEATURE_DATA_FILE: u64 = 1 << 2;
/// Dirty, corrupt, external data file, compression type, extended L2 entries.
const FEATURES_KNOWN: u64 = 0b1_1111;

/// What the header of a qcow2 file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qcow2 {
    /// 2 or 3.
    pub version: u32,
    /// Size of a cluster as a power of two, 9 to 21.
    pub cluster_bits: u32,
    /// Size of the disk in bytes.
    pub virtual_size: ByteSize,
    /// The name of the file below, as written in the header.
    pub backing: Option<String>,
    /// The layout of the file below, as written in the header.
    pub backing_format: Option<String>,
}

/// Why a qcow2 header is refused. The file is at fault; nothing changed; a retry cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The header or what it points to lies beyond what there is.
    #[error("its qcow2 header is cut off")]
    CutOff,
    /// Version 1, or one that is not known yet.
    #[error("it is of version {0} of the qcow format, and only 2 and 3 are supported")]
    Version(u32),
    /// A number outside the format's range.
    #[error("its qcow2 header is damaged: {0}")]
    Damaged(&'static str),
    /// Encrypted content.
    #[error("it is encrypted by qcow2, which is not supported")]
    Encrypted,
    /// The data lies in another file, which could be any file of the host.
    #[error("its data lies in an external data file, which is not allowed")]
    ExternalData,
    /// QEMU marked it as corrupt.
    #[error("it is marked as corrupt: repair it with qemu-img check -r all")]
    Corrupt,
    /// Features that are not known; the value is the bits.
    #[error("it needs unknown qcow2 features (bits {0:#x})")]
    UnknownFeatures(u64),
}

impl Qcow2 {
    /// Reads the header from the beginning of a file. Total: any bytes give a header or an error.
    pub fn parse(head: &[u8]) -> Result<Self, HeaderError> {
        if head.get(..4) != Some(&MAGIC) {
            return Err(HeaderError::Damaged("the magic number is missing"));
        }
        let version = u32_at(head, 4)?;
        if !matches!(version, 2 | 3) {
            return Err(HeaderError::Version(version));
        }
        let cluster_bits = u32_at(head, 20)?;
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(HeaderError::Damaged("the cluster size is out of range"));
        }
        if u32_at(head, 32)? != 0 {
            return Err(HeaderError::Encrypted);
        }
        let header_bytes = if version == 2 { HEADER_BYTES_V2 } else { check_features(head, cluster_bits)? };
        let extensions = Extensions::parse(head, header_bytes)?;
        Ok(Self {
            version,
            cluster_bits,
            virtual_size: ByteSize(u64_at(head, 24)?),
            backing: backing_name(head, cluster_bits)?,
            backing_format: extensions.backing_format,
        })
    }
}

/// Refuses what version 3 says cannot be read without understanding it; answers the length of the header.
fn check_features(head: &[u8], cluster_bits: u32) -> Result<u32, HeaderError> {
    let features = u64_at(head, 72)?;
    if features & !FEATURES_KNOWN != 0 {
        return Err(HeaderError::UnknownFeatures(features & !FEATURES_KNOWN));
    }
    if features & FEATURE_DATA_FILE != 0 {
        return Err(HeaderError::ExternalData);
    }
    if features & FEATURE_CORRUPT != 0 {
        return Err(HeaderError::Corrupt);
    }
    let header_bytes = u32_at(head, 100)?;
    if header_bytes < HEADER_BYTES_V3 || header_bytes > 1 << cluster_bits {
        return Err(HeaderError::Damaged("the header's length is out of range"));
    }
    Ok(header_bytes)
}

fn backing_name(head: &[u8], cluster_bits: u32) -> Result<Option<String>, HeaderError> {
    let (offset, length) = (u64_at(head, 8)?, u32_at(head, 16)?);
    if offset == 0 {
        return Ok(None);
    }
    if length == 0 || length > BACKING_NAME_BYTES_MAX {
        return Err(HeaderError::Damaged("the length of the backing file's name is out of range"));
    }
    if offset.saturating_add(u64::from(length)) > 1 << cluster_bits {
        return Err(HeaderError::Damaged("the backing file's name lies outside the first cluster"));
    }
    let offset = usize::try_from(offset).map_err(|_source| HeaderError::CutOff)?;
    let name = slice(head, offset, length)?;
    Ok(Some(String::from_utf8_lossy(name).into_owned()))
}

#[derive(Default)]
struct Extensions {
    backing_format: Option<String>,
}

impl Extensions {
    fn parse(head: &[u8], header_bytes: u32) -> Result<Self, HeaderError> {
        let mut found = Self::default();
        let mut offset = usize::try_from(header_bytes).map_err(|_source| HeaderError::CutOff)?;
        for _ in 0..EXTENSIONS_MAX {
            // A version 2 header without any extension may end here.
            let Ok(kind) = u32_at(head, offset) else { return Ok(found) };
            let length = if kind == EXTENSION_END { return Ok(found) } else { u32_at(head, offset + 4)? };
            let data = slice(head, offset + 8, length)?;
            match kind {
                EXTENSION_DATA_FILE => return Err(HeaderError::ExternalData),
                EXTENSION_BACKING_FORMAT => found.backing_format = Some(String::from_utf8_lossy(data).into_owned()),
                _ => {}
            }
            offset += 8 + data.len().next_multiple_of(8);
        }
        Err(HeaderError::Damaged("it has too many header extensions"))
    }
}

fn slice(head: &[u8], offset: usize, length: u32) -> Result<&[u8], HeaderError> {
    let end = usize::try_from(length).ok().and_then(|length| offset.checked_add(length));
    end.and_then(|end| head.get(offset..end)).ok_or(HeaderError::CutOff)
}

fn array<const N: usize>(head: &[u8], offset: usize) -> Result<[u8; N], HeaderError> {
    let bytes = head.get(offset..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().ok_or(HeaderError::CutOff)
}

fn u32_at(head: &[u8], offset: usize) -> Result<u32, HeaderError> {
    array(head, offset).map(u32::from_be_bytes)
}

fn u64_at(head: &[u8], offset: usize) -> Result<u64, HeaderError> {
    array(head, offset).map(u64::from_be_bytes)
}
