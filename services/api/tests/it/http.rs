//! HTTP as bytes, so that tests can be ruder than a client library allows.

use std::{collections::BTreeMap, net::SocketAddr};

use acp_dev_wait::{seen, wait_for_async};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::LIMIT;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A request that is being put together.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    address: SocketAddr,
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        let headers = vec![("Host".to_owned(), address.to_string()), ("Connection".to_owned(), "close".to_owned())];
        Self { address, line: format!("{method} {target} HTTP/1.1"), headers, body: String::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn key(self, secret: &str) -> Self {
        self.header("Authorization", &format!("Bearer {secret}"))
    }

    pub(crate) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Type", "application/json").header("Content-Length", &length)
    }

    fn text(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{headers}\r\n{}", self.line, self.body)
    }

    /// Sends it and reads the answer to its end.
    pub(crate) async fn send(self) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        // A request that is refused before its end may not be taken whole.
        drop(stream.write_all(self.text().as_bytes()).await);
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("an answer in time");
        assert!(read.is_ok() || !bytes.is_empty(), "{}: {read:?}", self.line);
        parse(&String::from_utf8(bytes).expect("text"))
    }

    /// Sends it and leaves the answer to be read as it comes.
    pub(crate) async fn open(self) -> Stream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(self.text().as_bytes()).await.expect("taken");
        Stream { stream, seen: String::new() }
    }
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status: status.expect("a status"), headers: headers.collect(), body: body.to_owned() }
}

/// An answer that goes on.
pub(crate) struct Stream {
    stream: TcpStream,
    seen: String,
}

impl Stream {
    /// Reads until the text is there, and answers what came before and with it.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            if let Some(place) = self.seen.find(text) {
                let rest = self.seen.split_off(place + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let mut part = [0; 4096];
            let read = tokio::time::timeout_at(deadline, self.stream.read(&mut part)).await;
            let count = read.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen)).expect("readable");
            assert_ne!(count, 0, "it ended without {text:?}: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&part[..count]));
        }
    }

    /// Reads to the end.
    pub(crate) async fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        tokio::time::timeout(LIMIT, self.stream.read_to_end(&mut bytes)).await.expect("it ends").expect("readable");
        self.seen + &String::from_utf8_lossy(&bytes)
    }
}

/// The same request again and again until the answer is as wanted.
pub(crate) async fn until(request: &Request, what: &str, is_wanted: impl Fn(&Answer) -> bool) -> Answer {
    let look = async || seen(request.clone().send().await, |answer| is_wanted(answer));
    wait_for_async(what, LIMIT, look).await.expect("it comes")
}
