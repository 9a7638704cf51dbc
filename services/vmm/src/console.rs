//! The serial console: what QEMU put out so far, and who reads and types.
//!
//! Deliberately not here: terminals. Bytes go both ways as they are.
//!
//! **Invariant**: a reader that stands still costs its own buffer and nothing else: readers follow the ring at their own
//! pace, and the guest waits for none of them.

mod feed;
mod log;
mod output;
mod reader;
mod ring;
mod text;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, watch};
use tracing::info;

pub(crate) use self::feed::Feed;
use self::{log::Log, output::Output, ring::length};
pub(crate) use self::{reader::serve, text::take_text};
use crate::{ailments::Ailments, config::Config};

/// Pieces of input that may wait for QEMU; with [`INPUT_BYTES_MAX`] the 64 KiB that a terminal's user may be ahead. Beyond
/// that the typist's connection waits.
const INPUTS_MAX: usize = 16;

/// The largest piece of input.
pub(crate) const INPUT_BYTES_MAX: usize = 4096;

/// The largest piece of output handed to a reader.
pub(crate) const PIECE_BYTES_MAX: usize = 16 << 10;

/// Chunks of the log taken in at once, so that a flood cannot keep the others waiting.
const LOG_READS_MAX: usize = 64;

/// How far the output has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Position after the newest byte.
    pub(crate) end: u64,
    /// Whether QEMU has closed the console, so that no more is to be expected.
    pub(crate) is_over: bool,
}

/// A piece of output for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes at the position asked for; empty at the end.
    Bytes(Vec<u8>),
    /// The ring no longer has the position: go on at this one.
    Skip(u64),
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) position: u64,
    pub(crate) lost_bytes: u64,
}

/// A console. Cheap to clone; clones are the same console.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    inputs: mpsc::Sender<Vec<u8>>,
    /// Taken by the feed.
    typed: Mutex<Option<mpsc::Receiver<Vec<u8>>>>,
    log: Log,
    log_bytes_max: u64,
}

#[derive(Debug)]
struct State {
    output: Output,
    /// While the log is being trimmed nobody reads it.
    is_trimming: bool,
}

impl Console {
    /// The console whose log lies in this state directory, with what the log holds already.
    pub(crate) fn open(state: &Path, config: &Config) -> io::Result<Self> {
        let log = Log::new(state);
        let capacity = usize::try_from(config.console_ring_bytes).unwrap_or(usize::MAX);
        let output = Output::new(capacity, log.base()?, log.size()?);
        let (inputs, typed) = mpsc::channel(INPUTS_MAX);
        let progress = watch::Sender::new(Progress { end: output.ring().end(), is_over: false });
        let shared = Shared {
            state: Mutex::new(State { output, is_trimming: false }),
            progress,
            inputs,
            typed: Mutex::new(Some(typed)),
            log,
            log_bytes_max: config.console_log_bytes_max,
        };
        let console = Self { shared: Arc::new(shared) };
        console.read_log()?;
        Ok(console)
    }

    /// The task's work that keeps this console connected to QEMU. There is one for each console.
    pub(crate) fn feed(&self, socket: PathBuf, ailments: Ailments) -> Feed {
        let typed = self.shared.typed.lock().unwrap_or_else(PoisonError::into_inner).take();
        Feed::new(self.clone(), socket, typed.expect("a console has one feed"), ailments)
    }

    /// Takes in what the log has gained.
    pub(crate) fn read_log(&self) -> io::Result<()> {
        let size = self.shared.log.size()?;
        let mut state = self.state();
        if state.is_trimming {
            return Ok(());
        }
        if size < state.output.offset() {
            info!("the console's log was emptied by somebody else");
            state.output.restarted();
        }
        for _ in 0..LOG_READS_MAX {
            if state.output.offset() >= size {
                break;
            }
            let bytes = self.shared.log.read(state.output.offset())?;
            if bytes.is_empty() {
                break;
            }
            state.output.logged(&bytes);
        }
        self.publish(state, None);
        Ok(())
    }

    /// The newest position.
    pub(crate) fn end(&self) -> u64 {
        self.state().output.ring().end()
    }

    /// Where a reader begins that wants to continue at `position`, or else with the last `backlog` bytes, or else with all
    /// there is.
    pub(crate) fn beginning(&self, position: Option<u64>, backlog: Option<u32>) -> Beginning {
        let state = self.state();
        let ring = state.output.ring();
        let wanted = match (position, backlog) {
            (Some(position), _) => position.min(ring.end()),
            (None, Some(backlog)) => ring.end().saturating_sub(u64::from(backlog)).max(ring.start()),
            (None, None) => ring.start(),
        };
        let position = wanted.max(ring.start());
        Beginning { position, lost_bytes: position - wanted }
    }

    /// Output from `position` on.
    pub(crate) fn piece(&self, position: u64) -> Piece {
        let state = self.state();
        let ring = state.output.ring();
        if position < ring.start() {
            // Half a ring ahead of what is overwritten next, so that the reader gets somewhere.
            return Piece::Skip(ring.start().max(ring.end() - length(ring.capacity() / 2)));
        }
        Piece::Bytes(ring.copy(position, PIECE_BYTES_MAX))
    }

    /// The oldest position that [`Self::recorded`] can answer.
    pub(crate) fn oldest(&self) -> u64 {
        let state = self.state();
        state.output.log_start().min(state.output.ring().start())
    }

    /// Output from `position` on, out of the log where the ring no longer has it.
    pub(crate) fn recorded(&self, position: u64) -> io::Result<Piece> {
        let (start, offset) = {
            let state = self.state();
            (state.output.ring().start(), state.output.log_offset(position))
        };
        match offset {
            Some(offset) if position < start => {
                let mut bytes = self.shared.log.read(offset)?;
                bytes.truncate(usize::try_from(start - position).unwrap_or(usize::MAX));
                // Empty: it was trimmed a moment ago.
                Ok(if bytes.is_empty() { Piece::Skip(start) } else { Piece::Bytes(bytes) })
            }
            _ => Ok(self.piece(position)),
        }
    }

    /// Changes of the progress.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Where typed bytes go.
    pub(crate) fn inputs(&self) -> mpsc::Sender<Vec<u8>> {
        self.shared.inputs.clone()
    }

    /// The connection brought these bytes.
    fn received(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.output.received(bytes);
        self.publish(state, Some(false));
    }

    /// The connection has nothing more to bring at the moment.
    fn settled(&self) {
        self.state().output.settled();
    }

    /// Whether bytes of the connection are not in the log yet.
    fn is_waiting(&self) -> bool {
        self.state().output.is_waiting()
    }

    /// Shows what the log did not take.
    fn show_waiting(&self) {
        let mut state = self.state();
        state.output.show_waiting();
        self.publish(state, None);
    }

    /// QEMU closed the console.
    fn finish(&self) {
        self.publish(self.state(), Some(true));
    }

    /// Trims the log if it has grown too long.
    async fn trim(&self) -> io::Result<bool> {
        let (base, offset) = {
            let mut state = self.state();
            if state.output.offset() <= self.shared.log_bytes_max {
                return Ok(false);
            }
            state.is_trimming = true;
            (state.output.base(), state.output.offset())
        };
        let log = self.shared.log.clone();
        let trimmed = tokio::task::spawn_blocking(move || log.trim(base, offset)).await;
        let mut state = self.state();
        state.is_trimming = false;
        let trimmed = trimmed.map_err(io::Error::other).and_then(|result| result)?;
        state.output.logged(&trimmed.unread);
        state.output.restarted();
        self.publish(state, None);
        info!(bytes = trimmed.bytes, "the console's log was trimmed");
        Ok(true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: MutexGuard<'_, State>, is_over: Option<bool>) {
        let end = state.output.ring().end();
        drop(state);
        self.shared.progress.send_if_modified(|progress| {
            let next = Progress { end, is_over: is_over.unwrap_or(progress.is_over) };
            std::mem::replace(progress, next) != next
        });
    }
}
