//! What a tool wrote, within bounds.

use std::process::ExitStatus;

use crate::ProcessError;

/// How much of a tool's standard error is kept: its end, where tools say why they gave up. Enough for a screen of text.
pub const STDERR_BYTES_KEPT: usize = 8 << 10;

/// The longest line handed to a line callback; the rest of a longer one is left out. Progress lines have tens of bytes.
pub const LINE_BYTES_MAX: usize = 4 << 10;

/// A tool that has ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The program.
    pub program: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error as text, without trailing white space.
    pub stderr: String,
}

impl Output {
    /// This output if the tool succeeded, else [`ProcessError::Failed`].
    pub fn success(self) -> Result<Self, ProcessError> {
        if self.status.success() {
            return Ok(self);
        }
        Err(ProcessError::Failed { program: self.program, status: self.status, stderr: self.stderr })
    }

    /// The standard output as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// The last [`STDERR_BYTES_KEPT`] bytes of a stream.
#[derive(Debug, Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(STDERR_BYTES_KEPT);
        self.0.drain(..surplus);
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).trim_end().to_owned()
    }
}

/// Cuts a stream into lines, ended by a line feed or, as progress displays do, by a carriage return.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    pub(crate) fn push(&mut self, bytes: &[u8], on_line: &mut impl FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.flush(on_line),
                _ if self.0.len() < LINE_BYTES_MAX => self.0.push(byte),
                _ => {}
            }
        }
    }

    pub(crate) fn flush(&mut self, on_line: &mut impl FnMut(&str)) {
        if !self.0.is_empty() {
            on_line(&String::from_utf8_lossy(&self.0));
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_end() {
        let mut tail = Tail::default();
        tail.push(&[b'a'; STDERR_BYTES_KEPT]);
        tail.push(b"why\n");
        assert_eq!(tail.text().len(), STDERR_BYTES_KEPT - 1);
        assert!(tail.text().ends_with("awhy"));
    }

    #[test]
    fn lines_end_at_line_feeds_and_carriage_returns_and_are_bounded() {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        let mut on_line = |line: &str| seen.push(line.to_owned());
        lines.push(b"one\rtw", &mut on_line);
        lines.push(b"o\r\n", &mut on_line);
        lines.push(&vec![b'x'; LINE_BYTES_MAX + 5], &mut on_line);
        lines.flush(&mut on_line);
        assert_eq!(seen[..2], ["one", "two"]);
        assert_eq!(seen[2].len(), LINE_BYTES_MAX);
    }
}
