//! The one writer of the standard output.

use std::io::{self, Write};

use acp_base::{Code, Failure};

/// Writes results. A reader that closed its end early (`| head`) ends the program quietly: see
/// [`Writer::is_closed_early`].
pub(crate) struct Writer {
    sink: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// What the failure of an output that was closed by its reader says.
const CLOSED: &str = "the reader of the output has closed it";

impl Writer {
    /// The standard output.
    pub(crate) fn stdout() -> Self {
        Self { sink: Box::new(io::stdout()) }
    }

    /// Writes text at once.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes at once.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sink.write_all(bytes).and_then(|()| self.sink.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Code::Cancelled, CLOSED),
            _ => Failure::new(Code::DataLoss, format!("cannot write the output: {error}")),
        })
    }

    /// Whether this failure is that of an output whose reader has seen enough.
    pub(crate) fn is_closed_early(failure: &Failure) -> bool {
        failure.code == Code::Cancelled && failure.message == CLOSED
    }
}
