//! What lies in the pool.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    time::{SystemTime, UNIX_EPOCH},
};

use acp_base::{ByteSize, Uid};
use acp_core_storeplan::{Facts, HEAD_BYTES, HeaderError, Place, Qcow2, SECTOR_BYTES};
use acp_wire_api::worker::{FileInfo, FileRef};
use acp_wire_model::{Kind, image::DiskFormat};
use rustix::{fs::OFlags, io::Errno};

use super::{WorkerError, directory::Directory};

/// How much of a qcow2 file is read first; its header and the name of what lies below fit in nearly always.
const FIRST_BYTES: usize = 4 << 10;

/// Blocks in which the kernel counts what a file takes, whatever the file system.
const BLOCK_BYTES: u64 = 512;

/// The files of a pool as they were found.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) files: acp_core_storeplan::Inventory,
    sizes: BTreeMap<Place, Sizes>,
}

#[derive(Clone, Debug, Default)]
struct Sizes {
    file_bytes: u64,
    allocated_bytes: u64,
    identity: String,
}

impl Inventory {
    /// Looks at every file of the pool. Blocks.
    pub(super) fn read(directory: &Directory) -> Result<Self, WorkerError> {
        let mut inventory = Self::default();
        let images = directory.image_names()?.into_iter().filter_map(|name| Place::image(&name));
        let volumes = directory.volume_names()?.into_iter().filter_map(|name| Place::volume(&name));
        for (place, format) in images.chain(volumes) {
            inventory.add(directory, place, format);
        }
        Ok(inventory)
    }

    /// Volumes and images, counted.
    pub(super) fn counts(&self) -> (u32, u32) {
        let count = |is: fn(&Place) -> bool| {
            u32::try_from(self.files.iter().filter(|(place, _)| is(place)).count()).unwrap_or(u32::MAX)
        };
        (count(|place| matches!(place, Place::Volume(_))), count(|place| matches!(place, Place::Image(_))))
    }

    /// Every file, ordered.
    pub(super) fn infos(&self) -> Vec<FileInfo> {
        let mut infos: Vec<_> = self.files.iter().map(|(place, facts)| self.info_of(place, facts)).collect();
        infos.sort_by(|one, other| one.file.cmp(&other.file));
        infos
    }

    /// One file; the caller knows that it is there.
    pub(super) fn info(&self, place: &Place) -> Result<FileInfo, WorkerError> {
        let facts = self.files.get(place).ok_or_else(|| acp_core_storeplan::ChainError::Missing(place.clone()))?;
        Ok(self.info_of(place, facts))
    }

    /// Bytes that the files of a chain take.
    pub(super) fn allocated(&self, chain: &acp_core_storeplan::Chain) -> ByteSize {
        let sizes = chain.0.iter().filter_map(|(place, _)| self.sizes.get(place));
        ByteSize(sizes.map(|sizes| sizes.allocated_bytes).sum())
    }

    fn info_of(&self, place: &Place, facts: &Facts) -> FileInfo {
        let sizes = self.sizes.get(place).cloned().unwrap_or_default();
        let reason = match self.files.chain(place) {
            Ok(_) => String::new(),
            Err(acp_core_storeplan::ChainError::Unusable { place: at, problem }) if at == *place => problem,
            Err(error) => error.to_string(),
        };
        FileInfo {
            file: reference(place),
            format: facts.format,
            virtual_size_bytes: facts.virtual_size,
            allocated_bytes: ByteSize(sizes.allocated_bytes),
            file_bytes: ByteSize(sizes.file_bytes),
            backing: facts.backing.as_ref().map(|(below, _)| reference(below)),
            identity: sizes.identity,
            reason,
        }
    }

    fn add(&mut self, directory: &Directory, place: Place, format: DiskFormat) {
        let (mut facts, sizes) = match directory.open(&place, format, OFlags::RDONLY) {
            Ok(file) => look(&file, format),
            Err(errno) => (unusable(format, cannot_open(errno)), Sizes::default()),
        };
        if self.files.get(&place).is_some() {
            facts.problem = "there are two files of this name with different endings: remove one of them".into();
        }
        self.sizes.insert(place.clone(), sizes);
        self.files.insert(place, facts);
    }
}

/// The file that a reference names.
pub(super) fn place(file: &FileRef) -> Result<Place, WorkerError> {
    match file.kind {
        Kind::Image => file.name.parse::<Uid>().map(Place::Image).map_err(|error| invalid(file, &error)),
        Kind::Volume => {
            file.name.parse().map(Place::Volume).map_err(|error: acp_base::NameError| invalid(file, &error))
        }
        other @ (Kind::Node | Kind::System | Kind::Network | Kind::Pool | Kind::Service | Kind::Job) => {
            Err(WorkerError::Invalid(format!("a pool holds files of kind image and volume, not {other}")))
        }
    }
}

fn invalid(file: &FileRef, error: &dyn std::error::Error) -> WorkerError {
    WorkerError::Invalid(format!("{:?} names no {}: {error}", file.name, file.kind))
}

fn reference(place: &Place) -> FileRef {
    match place {
        Place::Image(uid) => FileRef { kind: Kind::Image, name: uid.to_string() },
        Place::Volume(name) => FileRef { kind: Kind::Volume, name: name.to_string() },
    }
}

fn unusable(format: DiskFormat, problem: String) -> Facts {
    Facts { format, virtual_size: ByteSize(0), backing: None, problem }
}

fn cannot_open(errno: Errno) -> String {
    match errno {
        Errno::LOOP => "it is a symbolic link, which is not followed".to_owned(),
        Errno::ACCESS | Errno::PERM => "the storage service may not open it: correct its owner".to_owned(),
        other => format!("it cannot be opened: {other}"),
    }
}

fn look(file: &File, format: DiskFormat) -> (Facts, Sizes) {
    let metadata = match file.metadata() {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return (unusable(format, "it is no regular file".into()), Sizes::default()),
        Err(error) => return (unusable(format, format!("it cannot be looked at: {error}")), Sizes::default()),
    };
    let birth = metadata.created().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
    let sizes = Sizes {
        file_bytes: metadata.len(),
        allocated_bytes: metadata.blocks() * BLOCK_BYTES,
        identity: format!("{:x}-{:x}", metadata.ino(), birth.as_nanos()),
    };
    let facts = match format {
        DiskFormat::Raw => raw_facts(metadata.len()),
        DiskFormat::Qcow2 => qcow2_facts(file).unwrap_or_else(|problem| unusable(format, problem)),
    };
    (facts, sizes)
}

fn raw_facts(length: u64) -> Facts {
    let cut_off = !length.is_multiple_of(SECTOR_BYTES);
    let problem =
        if cut_off { format!("its length is no multiple of {SECTOR_BYTES}: it was cut off") } else { String::new() };
    Facts { format: DiskFormat::Raw, virtual_size: ByteSize(length), backing: None, problem }
}

fn qcow2_facts(file: &File) -> Result<Facts, String> {
    let unreadable = |error| format!("it cannot be read: {error}");
    let mut header = Qcow2::parse(&head(file, FIRST_BYTES).map_err(unreadable)?);
    if header == Err(HeaderError::CutOff) {
        header = Qcow2::parse(&head(file, HEAD_BYTES).map_err(unreadable)?);
    }
    let header = header.map_err(|error| error.to_string())?;
    let below = header.backing.as_deref().map(|name| Place::of_backing(name, header.backing_format.as_deref()));
    let backing = below.transpose().map_err(|error| error.to_string())?;
    Ok(Facts { format: DiskFormat::Qcow2, virtual_size: header.virtual_size, backing, problem: String::new() })
}

/// The first bytes of a file, fewer if it is shorter. Blocks.
pub(super) fn head(file: &File, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut head = vec![0; bytes_max];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], u64::try_from(filled).unwrap_or(u64::MAX))? {
            0 => break,
            count => filled += count,
        }
    }
    head.truncate(filled);
    Ok(head)
}
