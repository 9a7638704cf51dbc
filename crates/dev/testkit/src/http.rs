//! A plain HTTP GET, enough for a guest's page.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// How long a guest under emulation may take to answer on an idle machine is milliseconds; this is for a busy one.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A page longer than this is none of ours.
const PAGE_BYTES_MAX: u64 = 64 << 10;

/// The body of `http://HOST/`, if the status is 200.
pub fn get(host: std::net::IpAddr) -> Result<String> {
    let address = SocketAddr::new(host, 80);
    let mut stream =
        TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut answer).with_context(|| format!("{address} did not answer"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("{address} answered with status {status}");
    }
    Ok(body.to_owned())
}
