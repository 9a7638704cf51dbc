//! What SQLite does not tell about its write-ahead log.
//!
//! SQLite reads the log up to the first frame whose checksum is wrong and takes the rest for what a crash left of an
//! unfinished commit. A flipped bit looks the same to it: everything behind it vanishes without a word. The two can be told
//! apart. The store synchronises every commit before the next begins, so a crash leaves at most one unfinished transaction.
//! If two more commits are whole behind a bad frame, then that frame was synchronised once and has changed since.
//!
//! Deliberately not here: damage within the last two commits and a log that is missing or cut off, which look exactly like a
//! crash; the [witness](crate::witness) knows of those.
//!
//! **Invariant**: what a crash can leave is never called damaged. This rests on one generation of the log never holding
//! frames of two failed commits; the writer begins a new generation after a failure.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use crate::error::StoreError;

/// Bytes before the first frame, and before each frame's page (SQLite file format, 4.1).
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The first four bytes; the last bit says that checksums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// Page sizes that SQLite knows.
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 512..=65_536;

/// Whole commits behind a bad frame that prove that it was synchronised: one may be of the same, unfinished transaction.
const COMMITS_PROVING: usize = 2;

/// A running checksum.
type Sum = (u32, u32);

/// Refuses a log in which something that was synchronised has changed. To be called before SQLite opens the database, which
/// would write over the rest. A missing log is no damage that could be seen here.
pub fn inspect(database: &Path, log: &Path) -> Result<(), StoreError> {
    let reading = || StoreError::io("read the write-ahead log");
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(reading()(error)),
    };
    let mut reader = BufReader::new(file);
    let mut header = [0; HEADER];
    if !fill(&mut reader, &mut header).map_err(reading())? {
        return Ok(());
    }
    let frame = match Layout::of(&header) {
        Some(layout) => first_damaged(reader, &layout).map_err(reading())?,
        None => behind_bad_header(log, &header, page_size(database)).map_err(reading())?,
    };
    frame.map_or(Ok(()), |frame| Err(StoreError::LogDamaged { path: log.to_owned(), frame }))
}

/// What a header says of the frames behind it.
#[derive(Debug)]
struct Layout {
    big_endian: bool,
    page_bytes: usize,
    /// The generation; `None` accepts any.
    salts: Option<[u8; 8]>,
    sum: Sum,
}

impl Layout {
    /// Of a header that is whole.
    fn of(header: &[u8; HEADER]) -> Option<Self> {
        let magic = word(header, 0);
        let big_endian = magic & 1 == 1;
        let page_bytes = usize::try_from(word(header, 8)).ok()?;
        let sum = checksum(big_endian, (0, 0), &header[..24]);
        let is_whole = magic & !1 == MAGIC && PAGE_SIZES.contains(&page_bytes) && sum == stored_sum(header, 24);
        let salts = header[16..24].try_into().ok();
        is_whole.then_some(Self { big_endian, page_bytes, salts, sum })
    }
}

/// The number, from 1, of the first frame that was synchronised and has changed since.
fn first_damaged(mut frames: impl Read, layout: &Layout) -> io::Result<Option<u64>> {
    let mut frame = vec![0; FRAME_HEADER + layout.page_bytes];
    let (mut seed, mut bad, mut commits) = (layout.sum, None, 0);
    for number in 1.. {
        if !fill(&mut frames, &mut frame)? {
            break;
        }
        let is_whole = is_whole(layout, seed, &frame);
        // A frame is whole or not by what its predecessor says the sum was, also behind a bad one.
        seed = stored_sum(&frame, 16);
        match bad {
            None if !is_whole => bad = Some(number),
            Some(_) if is_whole && is_commit(&frame) => commits += 1,
            _ => {}
        }
        if commits == COMMITS_PROVING {
            return Ok(bad);
        }
    }
    Ok(None)
}

/// SQLite writes and synchronises a header before any frame behind it, and a sector of a disk is written whole: so where the
/// header is bad and a commit behind it is whole, the header has changed since. It is then said to be frame 0.
fn behind_bad_header(log: &Path, header: &[u8; HEADER], page_bytes: usize) -> io::Result<Option<u64>> {
    for big_endian in [false, true] {
        for sum in [stored_sum(header, 24), checksum(big_endian, (0, 0), &header[..24])] {
            let layout = Layout { big_endian, page_bytes, salts: None, sum };
            let mut frames = BufReader::new(File::open(log)?);
            let mut skipped = [0; HEADER];
            fill(&mut frames, &mut skipped)?;
            if has_commit(frames, &layout)? {
                return Ok(Some(0));
            }
        }
    }
    Ok(None)
}

fn has_commit(mut frames: impl Read, layout: &Layout) -> io::Result<bool> {
    let mut frame = vec![0; FRAME_HEADER + layout.page_bytes];
    let mut seed = layout.sum;
    while fill(&mut frames, &mut frame)? {
        if is_commit(&frame) && is_whole(layout, seed, &frame) {
            return Ok(true);
        }
        seed = stored_sum(&frame, 16);
    }
    Ok(false)
}

fn is_whole(layout: &Layout, seed: Sum, frame: &[u8]) -> bool {
    if layout.salts.is_some_and(|salts| frame[8..16] != salts) {
        return false;
    }
    let sum = checksum(layout.big_endian, seed, &frame[..8]);
    checksum(layout.big_endian, sum, &frame[FRAME_HEADER..]) == stored_sum(frame, 16)
}

/// The last frame of a transaction says how many pages the database has then.
fn is_commit(frame: &[u8]) -> bool {
    word(frame, 4) != 0
}

/// The page size that the database's own header states; SQLite's usual one if it states none.
fn page_size(database: &Path) -> usize {
    let mut header = [0; 18];
    let is_read = File::open(database).and_then(|mut file| fill(&mut file, &mut header)).unwrap_or(false);
    match (is_read, usize::from(u16::from_be_bytes([header[16], header[17]]))) {
        (true, 1) => 65_536,
        (true, size) if PAGE_SIZES.contains(&size) => size,
        _ => 4_096,
    }
}

fn checksum(big_endian: bool, (mut first, mut second): Sum, bytes: &[u8]) -> Sum {
    let number = |bytes: &[u8]| {
        let word = word(bytes, 0);
        if big_endian { word } else { word.swap_bytes() }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(number(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(number(&pair[4..])).wrapping_add(first);
    }
    (first, second)
}

fn stored_sum(bytes: &[u8], at: usize) -> Sum {
    (word(bytes, at), word(bytes, at + 4))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads as many bytes as fit; `false` if the file ends before.
fn fill(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
