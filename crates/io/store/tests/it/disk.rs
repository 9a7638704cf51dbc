//! A disk that fails and forgets, as a model: what each file holds, what of it was synchronised, and when what goes wrong.
//!
//! Sectors are written whole or not at all. Whatever was written since the last synchronisation survives a loss of power or
//! not, sector by sector. A synchronisation that fails leaves its sectors unsaved and clean, as Linux does: the next one that
//! succeeds does not save them unless they are written again.

use std::{
    collections::BTreeMap,
    ffi::{OsString, c_int},
    fs,
    path::{Path, PathBuf},
};

use rusqlite::ffi;

/// Numbers that a seed determines (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn index(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll(u64::try_from(sides).expect("fits"))).expect("fits")
    }
}

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and changes nothing that is saved.
    Io,
    /// There is no room. Synchronisations succeed.
    Full,
    /// Only the first sectors of a write reach the file.
    Torn,
    /// The machine stops: this operation and every later one fail.
    Stop,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Whole,
    /// So many bytes reach the file.
    Part(usize),
    Nothing(c_int),
}

#[derive(Clone, Debug, Default)]
struct Image {
    /// What a reader finds.
    current: Vec<u8>,
    /// What certainly survives.
    saved: Vec<u8>,
    /// Per sector, whether the next synchronisation saves it.
    dirty: Vec<bool>,
}

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk {
    files: BTreeMap<PathBuf, Image>,
    dice: Dice,
    sector: usize,
    operations: u64,
    plan: BTreeMap<u64, Fault>,
    at_next_sync: Option<Fault>,
    stopped: bool,
}

impl Disk {
    /// An empty disk, with sectors of 512 or 4,096 bytes.
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let sector = if dice.roll(2) == 0 { 512 } else { 4_096 };
        Self {
            files: BTreeMap::new(),
            dice,
            sector,
            operations: 0,
            plan: BTreeMap::new(),
            at_next_sync: None,
            stopped: false,
        }
    }

    /// Has the operation that is `after` from now go wrong.
    pub(crate) fn plan(&mut self, after: u64, fault: Fault) {
        self.plan.insert(self.operations + after, fault);
    }

    /// Has the next synchronisation go wrong, whatever comes before it.
    pub(crate) fn plan_at_sync(&mut self, fault: Fault) {
        self.at_next_sync = Some(fault);
    }

    /// From now on nothing goes wrong that was planned.
    pub(crate) fn mend(&mut self) {
        self.plan.clear();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Every operation fails from now on.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Starts the machine again. With `loses_power` what was not saved survives by chance; otherwise only the process had
    /// ended, and everything written is there. To be called when nothing has the files open.
    pub(crate) fn start(&mut self, loses_power: bool) {
        let (mut dice, sector) = (self.dice.clone(), self.sector);
        for (path, image) in &mut self.files {
            let left = if loses_power { survivors(image, sector, &mut dice) } else { image.current.clone() };
            fs::write(path, &left).expect("a file of the disk can be written");
            if loses_power {
                *image = Image { dirty: Vec::new(), saved: left.clone(), current: left };
            } else {
                image.current = left;
            }
            let mut memory: OsString = path.clone().into_os_string();
            memory.push("-shm");
            drop(fs::remove_file(memory));
        }
        self.dice = dice;
        self.plan.clear();
        self.stopped = false;
    }

    pub(crate) fn open(&mut self, path: &Path) -> Result<(), c_int> {
        match self.next() {
            Some(Fault::Io | Fault::Torn | Fault::Stop) => return Err(ffi::SQLITE_CANTOPEN),
            // A file without bytes needs no room.
            Some(Fault::Full) | None => {}
        }
        let there = || {
            let bytes = fs::read(path).unwrap_or_default();
            Image { current: bytes.clone(), saved: bytes, dirty: Vec::new() }
        };
        self.files.entry(path.to_owned()).or_insert_with(there);
        Ok(())
    }

    pub(crate) fn write(&mut self, path: &Path, offset: usize, bytes: &[u8]) -> Written {
        let was_stopped = self.stopped;
        let fault = self.next();
        let sector = self.sector;
        let part = sector * self.dice.index(bytes.len() / sector + 1);
        let image = self.files.entry(path.to_owned()).or_default();
        match fault {
            None => {
                image.write(sector, offset, bytes);
                Written::Whole
            }
            Some(Fault::Full) => Written::Nothing(ffi::SQLITE_FULL),
            Some(Fault::Io) => Written::Nothing(ffi::SQLITE_IOERR_WRITE),
            Some(Fault::Torn) => {
                image.write(sector, offset, &bytes[..part]);
                Written::Part(part)
            }
            Some(Fault::Stop) => {
                if !was_stopped {
                    image.write(sector, offset, bytes);
                }
                Written::Nothing(ffi::SQLITE_IOERR_WRITE)
            }
        }
    }

    pub(crate) fn truncate(&mut self, path: &Path, size: usize) -> Result<(), c_int> {
        match self.next() {
            Some(Fault::Io | Fault::Torn | Fault::Stop) => return Err(ffi::SQLITE_IOERR_TRUNCATE),
            Some(Fault::Full) | None => {}
        }
        self.files.entry(path.to_owned()).or_default().current.truncate(size);
        Ok(())
    }

    pub(crate) fn sync(&mut self, path: &Path) -> Result<(), c_int> {
        let planned = self.at_next_sync.take();
        self.stopped |= planned == Some(Fault::Stop);
        let fault = self.next().or(planned);
        let sector = self.sector;
        let image = self.files.entry(path.to_owned()).or_default();
        match fault {
            Some(Fault::Stop) => Err(ffi::SQLITE_IOERR_FSYNC),
            Some(Fault::Io | Fault::Torn) => {
                image.dirty.clear();
                Err(ffi::SQLITE_IOERR_FSYNC)
            }
            Some(Fault::Full) | None => {
                image.save(sector);
                Ok(())
            }
        }
    }

    pub(crate) fn delete(&mut self, path: &Path) -> Result<(), c_int> {
        match self.next() {
            Some(Fault::Io | Fault::Torn | Fault::Stop) => return Err(ffi::SQLITE_IOERR_DELETE),
            Some(Fault::Full) | None => {}
        }
        self.files.remove(path);
        Ok(())
    }

    fn next(&mut self) -> Option<Fault> {
        let fault = self.plan.remove(&self.operations);
        self.operations += 1;
        self.stopped |= fault == Some(Fault::Stop);
        if self.stopped { Some(Fault::Stop) } else { fault }
    }
}

impl Image {
    fn write(&mut self, sector: usize, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        self.current.resize(self.current.len().max(end), 0);
        self.current[offset..end].copy_from_slice(bytes);
        let last = (end - 1) / sector;
        self.dirty.resize(self.dirty.len().max(last + 1), false);
        self.dirty[offset / sector..=last].fill(true);
    }

    fn save(&mut self, sector: usize) {
        self.saved.resize(self.current.len(), 0);
        for (number, dirty) in self.dirty.iter_mut().enumerate().filter(|(_, dirty)| **dirty) {
            let start = (number * sector).min(self.current.len());
            let end = (start + sector).min(self.current.len());
            self.saved[start..end].copy_from_slice(&self.current[start..end]);
            *dirty = false;
        }
    }
}

fn survivors(image: &Image, sector: usize, dice: &mut Dice) -> Vec<u8> {
    let length = if dice.roll(2) == 0 { image.current.len() } else { image.saved.len() };
    let mut left = image.saved.clone();
    left.resize(length, 0);
    for start in (0..length.min(image.current.len())).step_by(sector) {
        if dice.roll(2) == 0 {
            let end = (start + sector).min(length).min(image.current.len());
            left[start..end].copy_from_slice(&image.current[start..end]);
        }
    }
    left
}
