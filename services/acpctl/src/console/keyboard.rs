//! The standard input, byte by byte.
//!
//! A thread of its own reads it: its descriptor is shared with whoever started this program and must stay blocking. The
//! thread is left behind in its read when the console is left, and ends with the program.

use std::{
    io::{self, IsTerminal},
    thread,
};

use tokio::sync::mpsc;

/// Ctrl-], the key that leaves, as telnet has it.
const LEAVE: u8 = 0x1d;

/// Bytes taken at once.
const CHUNK_BYTES: usize = 4096;

/// Chunks that may wait for the console; the reader stops meanwhile.
const CHUNKS_MAX: usize = 4;

/// What came from the standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// For the guest.
    Bytes(Vec<u8>),
    /// These are for the guest, then the operator left.
    Leave(Vec<u8>),
    /// There is no more.
    End,
}

/// The standard input.
#[derive(Debug)]
pub(super) struct Keyboard {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    is_terminal: bool,
}

impl Keyboard {
    /// Begins to read the standard input.
    pub(super) fn open() -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        thread::Builder::new().name("keyboard".to_owned()).spawn(move || pass_on(&sender))?;
        Ok(Self { chunks, is_terminal: io::stdin().is_terminal() })
    }

    /// Whether somebody types.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// What comes next. Cancel-safe.
    pub(super) async fn read(&mut self) -> io::Result<Typed> {
        match self.chunks.recv().await {
            Some(chunk) => chunk.map(|bytes| sort(bytes, self.is_terminal)),
            None => Ok(Typed::End),
        }
    }
}

fn pass_on(chunks: &mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let chunk = read();
        let is_last = chunk.as_ref().map_or(true, Vec::is_empty);
        if chunks.blocking_send(chunk).is_err() || is_last {
            return;
        }
    }
}

/// The next bytes; none at the end.
fn read() -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = match rustix::io::read(io::stdin(), &mut chunk) {
            Err(rustix::io::Errno::INTR) => continue,
            // A terminal that was hung up.
            Err(rustix::io::Errno::IO) => 0,
            result => result?,
        };
        chunk.truncate(count);
        return Ok(chunk);
    }
}

fn sort(mut bytes: Vec<u8>, is_terminal: bool) -> Typed {
    if bytes.is_empty() {
        return Typed::End;
    }
    match bytes.iter().position(|byte| is_terminal && *byte == LEAVE) {
        Some(at) => {
            bytes.truncate(at);
            Typed::Leave(bytes)
        }
        None => Typed::Bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_has_a_key_that_leaves() {
        assert_eq!(sort(b"ls\n".to_vec(), true), Typed::Bytes(b"ls\n".to_vec()));
        assert_eq!(sort(b"ab\x1dcd".to_vec(), true), Typed::Leave(b"ab".to_vec()));
        assert_eq!(sort(b"\x1d".to_vec(), true), Typed::Leave(vec![]));
        assert_eq!(sort(b"ab\x1dcd".to_vec(), false), Typed::Bytes(b"ab\x1dcd".to_vec()));
        assert_eq!(sort(vec![], true), Typed::End);
    }
}
