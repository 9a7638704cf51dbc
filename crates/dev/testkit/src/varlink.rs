//! Talking to a socket byte by byte, as well-behaved clients do not.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// How long a daemon may take for any one answer in a test; its own deadlines are at most 30 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(35);
/// The longest answer read: above the daemons' own bound.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection to a daemon.
#[derive(Debug)]
pub struct Conversation {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Conversation {
    /// Connects.
    pub fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends bytes as they are. That the daemon closed meanwhile is no error here: its answer is still to be read.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write_all(bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            other => other.context("cannot write to the daemon"),
        }
    }

    /// Sends a message with its end.
    pub fn send(&mut self, message: &Value) -> Result<()> {
        let mut bytes = serde_json::to_vec(message)?;
        bytes.push(0);
        self.send_raw(&bytes)
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&self) -> Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write).context("cannot close the sending side")
    }

    /// The next message; nothing if the daemon closed the connection.
    pub fn receive(&mut self) -> Result<Option<Value>> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = self.received.drain(..=end).collect();
                return serde_json::from_slice(&message[..end]).map(Some).context("the daemon sent no JSON");
            }
            if self.received.len() > ANSWER_BYTES_MAX {
                bail!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                // A read with a time limit is not taken up again by the kernel after a stop.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the daemon does not answer"),
            }
        }
    }

    /// Reads raw bytes until the other side ends or fails, after a call that has turned the connection into a stream; tells
    /// how many came each time.
    pub fn drain(&mut self, mut told: impl FnMut(u64)) {
        let mut chunk = vec![0; 256 << 10];
        told(self.received.drain(..).len() as u64);
        while let Ok(count @ 1..) = self.stream.read(&mut chunk) {
            told(count as u64);
        }
    }

    /// Calls a method and answers the whole reply: `parameters`, or `error` with `parameters`.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.send(&json!({ "method": method, "parameters": parameters }))?;
        self.receive()?.with_context(|| format!("the daemon closed the connection instead of answering {method}"))
    }
}

/// Calls one method on a connection of its own; an error reply is an error.
pub fn call(socket: &Path, method: &str, parameters: Value) -> Result<Value> {
    let mut reply = Conversation::open(socket)?.call(method, parameters)?;
    match reply.get("error") {
        Some(error) => bail!("{method} answered {error}: {}", reply["parameters"]),
        None => Ok(reply["parameters"].take()),
    }
}
