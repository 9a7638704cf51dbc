//! Just enough of HTTP/1.1 to ask one question again and again on an open connection.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

/// Longer answers than this are none to these questions.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A question to a server.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    place: Place,
    request: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Question {
    /// A GET of `path`, with further header lines that end in CR LF.
    pub(crate) fn get(place: Place, path: &str, headers: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes();
        Self { place, request }
    }

    /// A POST of JSON.
    pub(crate) fn post(place: Place, path: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        Self { place, request: format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes() }
    }

    pub(crate) async fn connect(&self) -> Result<Asking> {
        let stream: Box<dyn Stream> = match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await.with_context(|| format!("no way to {address}"))?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Place::Unix(path) => Box::new(UnixStream::connect(path).await.context("no way to the socket")?),
        };
        Ok(Asking { stream, request: self.request.clone(), buffer: Vec::new() })
    }

    /// Asks once, on a connection of its own.
    pub(crate) async fn ask(&self) -> Result<String> {
        let mut asking = self.connect().await?;
        asking.ask().await?;
        Ok(String::from_utf8_lossy(&asking.buffer).into_owned())
    }
}

/// An open connection on which the question is asked.
pub(crate) struct Asking {
    stream: Box<dyn Stream>,
    request: Vec<u8>,
    /// The last answer.
    buffer: Vec<u8>,
}

impl Asking {
    /// Asks and waits for the whole answer, which has to be a 200.
    pub(crate) async fn ask(&mut self) -> Result<()> {
        self.stream.write_all(&self.request).await?;
        self.buffer.clear();
        while !is_whole(&self.buffer)? {
            ensure!(self.buffer.len() < ANSWER_BYTES_MAX, "the answer does not end");
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended within an answer");
        }
        Ok(())
    }
}

/// Whether an answer is there to its end.
fn is_whole(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(&answer[..end]).context("the head is no text")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "the answer is {}", String::from_utf8_lossy(answer));
    let body = &answer[end + 4..];
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    match field("Content-Length") {
        Some(length) => Ok(body.len() >= length.parse()?),
        None => Ok(body.ends_with(b"0\r\n\r\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_it_says() {
        let whole = |text: &str| is_whole(text.as_bytes()).expect("a 200");
        assert!(!whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"));
        assert!(!whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{"));
        assert!(whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
        assert!(!whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"));
        assert!(whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"));
        assert!(is_whole(b"HTTP/1.1 401 Unauthorized\r\n\r\n").is_err());
    }
}
