//! Its log: a first state, entries after it, and what they come to.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
};

use acp_base::{EpochId, Failure, Name, Uid, from_base64, to_base64};
use acp_core_cdb::{Hash, Outcome, State, encode};
use acp_io_daemon::{new_uid, wall_now};
use acp_wire_api::hub::Proposed;
use acp_wire_model::entry::{Action, Entry};

use super::no_log;

/// A log in a file: a line for the first state, if it has one, and one for each entry.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    image: Option<Vec<u8>>,
    base: (u64, Hash),
    entries: Vec<(Vec<u8>, Hash)>,
    state: State,
}

impl Log {
    /// The log in this file.
    pub(super) fn open(path: &Path) -> Self {
        let mut log = Self {
            path: path.to_owned(),
            image: None,
            base: (0, Hash::ZERO),
            entries: Vec::new(),
            state: State::default(),
        };
        let Ok(file) = File::open(path) else { return log };
        for line in BufReader::new(file).lines() {
            let line = line.expect("a readable file");
            let (what, bytes) = line.split_once(' ').expect("two words a line");
            let bytes = from_base64(bytes).expect("base64");
            match what {
                "image" => log.take_image(bytes).expect("an image"),
                _ => drop(log.push(bytes)),
            }
        }
        log
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// The first state, which takes the place of the entries before it.
    pub(super) fn image(&self) -> Option<&[u8]> {
        self.image.as_deref()
    }

    /// The index after which entries are there.
    pub(super) const fn base(&self) -> u64 {
        self.base.0
    }

    /// The hash after the entry with this index, if that is known.
    pub(super) fn hash_at(&self, index: u64) -> Option<Hash> {
        match index.checked_sub(self.base.0)? {
            0 => Some(self.base.1),
            after => self.entries.get(usize::try_from(after - 1).ok()?).map(|(_, hash)| *hash),
        }
    }

    /// The entries after this index, at most so many.
    pub(super) fn after(&self, index: u64, most: usize) -> impl Iterator<Item = &Vec<u8>> {
        let skip = usize::try_from(index.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip).take(most).map(|(bytes, _)| bytes)
    }

    /// Begins with the entry that founds a cluster.
    pub(super) fn found(&mut self, node: Uid, name: &Name) -> Result<(), Failure> {
        self.forget();
        let action = Action::Genesis { cluster: new_uid(), node, node_name: name.clone() };
        let epoch = EpochId { number: 1, id: new_uid() };
        self.enter(Entry { index: 1, epoch, time: wall_now(), actor: "hub".into(), request: String::new(), action });
        Ok(())
    }

    /// Begins with a state.
    pub(super) fn begin(&mut self, image: Vec<u8>) -> Result<(), Failure> {
        self.forget();
        let line = format!("image {}\n", to_base64(&image));
        self.take_image(image)?;
        self.write(&line);
        Ok(())
    }

    pub(super) fn forget(&mut self) {
        drop(std::fs::remove_file(&self.path));
        *self = Self::open(&self.path);
    }

    /// Gives an action the next place, and decides.
    pub(super) fn order(&mut self, actor: &str, request: &str, action: Action) -> Result<Proposed, Failure> {
        let epoch = self.state.epoch().ok_or_else(no_log)?;
        let (index, time) = (self.state.index() + 1, wall_now().max(self.state.time()));
        let (actor, request) = (actor.to_owned(), request.to_owned());
        let outcome = self.enter(Entry { index, epoch, time, actor, request, action });
        Ok(match outcome {
            Outcome::Done(_) => Proposed { index, code: None, refused: None },
            Outcome::Refused(refusal) => {
                Proposed { index, code: Some(refusal.code.name().to_owned()), refused: Some(refusal.message) }
            }
            Outcome::Stalled(stall) => return Err(stall.into()),
        })
    }

    fn enter(&mut self, entry: Entry) -> Outcome {
        let bytes = encode(&entry);
        let line = format!("entry {}\n", to_base64(&bytes));
        let outcome = self.push(bytes);
        self.write(&line);
        outcome
    }

    fn push(&mut self, bytes: Vec<u8>) -> Outcome {
        let outcome = self.state.apply(&bytes);
        self.entries.push((bytes, self.state.hash()));
        outcome
    }

    fn take_image(&mut self, image: Vec<u8>) -> Result<(), Failure> {
        let state = State::restore(&image).map_err(|error| Failure::invalid(error.to_string()))?;
        self.base = (state.index(), state.hash());
        self.entries.clear();
        self.state = state;
        self.image = Some(image);
        Ok(())
    }

    fn write(&self, line: &str) {
        let file = File::options().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("a writable file");
    }
}
