//! What a hostile client does. Each attack checks that the daemon bounds it with a precise answer; whether others notice is
//! seen elsewhere.

use std::{
    io::{ErrorKind, IoSlice, Read as _, Write as _},
    mem::MaybeUninit,
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};

/// Connections to each daemon that are tried by the one who sits.
const SEATS: usize = 1_000;
/// How many of them a user gets who is no daemon.
const SEATS_MAX: usize = 512;
/// Watches that are opened; a user who is no daemon has 128.
const WATCHES: usize = 200;
/// Half messages at the same time: six times what a user's connections may hold.
const HALVES: usize = 100;
/// A byte less than the largest message.
const HALF_BYTES: usize = (1 << 20) - 1;
/// What is streamed as one message.
const STREAM_BYTES: usize = 1 << 30;
/// What may be taken of it: one message and the kernel's buffers.
const STREAM_TAKEN_MAX: usize = 4 << 20;
/// Calls sent ahead of their replies.
const CALLS: usize = 10_000;
/// Connections of the storm.
const STORM: usize = 1_000;
/// How long a daemon may take for any answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How long a message may take once it was begun, and what the test allows beyond.
const UNFINISHED: std::ops::Range<Duration> = Duration::from_secs(9)..Duration::from_secs(15);

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    Ok(stream)
}

fn message(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(0);
    bytes
}

/// Writes until the daemon closes; answers how much it took.
fn write_until_closed(stream: &mut UnixStream, total: usize) -> Result<usize> {
    let chunk = vec![b'x'; 64 << 10];
    let mut written = 0;
    while written < total {
        match stream.write(&chunk[..chunk.len().min(total - written)]) {
            Ok(count) => written += count,
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => break,
            Err(error) => return Err(error).context("the daemon neither reads nor closes"),
        }
    }
    Ok(written)
}

/// What still comes until the daemon closes.
fn last_words(mut stream: UnixStream) -> Result<String> {
    let mut words = Vec::new();
    match stream.read_to_end(&mut words) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error).context("the daemon does not close"),
        Ok(_) | Err(_) => Ok(String::from_utf8_lossy(&words).into_owned()),
    }
}

fn expect(words: &str, error: &str, says: &str) -> Result<()> {
    ensure!(words.contains(error) && words.contains(says), "the last words are {words:?}, not {error} with {says:?}");
    Ok(())
}

/// Opens connections and sits on those that are taken; the rest are told why they are not.
pub(super) fn sit(sockets: &[PathBuf]) -> Result<Vec<UnixStream>> {
    let mut seats = Vec::new();
    for socket in sockets {
        let mut own = (0..SEATS).map(|_| connect(socket)).collect::<Result<Vec<_>>>()?;
        for stream in own.drain(SEATS_MAX..) {
            expect(&last_words(stream)?, "ResourceExhausted", "512 open connections of uid")?;
        }
        seats.append(&mut own);
    }
    Ok(seats)
}

/// Idle connections are nobody's loss: they stay open.
pub(super) fn still_sits(seats: Vec<UnixStream>) -> Result<()> {
    for mut stream in seats {
        stream.set_nonblocking(true)?;
        let found = stream.read(&mut [0]);
        let is_open = found.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        ensure!(is_open, "an idle connection was closed: {found:?}");
    }
    Ok(())
}

/// Opens watches and reads nothing of them.
pub(super) fn watch_and_never_read(socket: &Path) -> Result<Vec<UnixStream>> {
    let call = message(&json!({ "method": "acp.cluster.Watch", "parameters": {}, "more": true }));
    let open = || {
        let mut stream = connect(socket)?;
        stream.write_all(&call)?;
        Ok(stream)
    };
    (0..WATCHES).map(|_| open()).collect()
}

/// Begins a message and waits until the daemon has had enough.
pub(super) fn begun_and_never_finished(socket: &Path) -> Result<()> {
    let mut stream = connect(socket)?;
    stream.write_all(b"{\"method\":\"acp.daemon.GetHealth\"")?;
    let started = Instant::now();
    expect(&last_words(stream)?, "DeadlineExceeded", "not finished within 10 s")?;
    let took = started.elapsed();
    ensure!(UNFINISHED.contains(&took), "a half message was kept for {took:?}");
    Ok(())
}

/// Sends the first MiB of many messages and not their ends. Those that hold most are closed and told why.
pub(super) fn half_messages(socket: &Path) -> Result<()> {
    let mut halves = Vec::new();
    for _ in 0..HALVES {
        let mut stream = connect(socket)?;
        write_until_closed(&mut stream, HALF_BYTES)?;
        halves.push(stream);
    }
    let mut closed = 0;
    for mut stream in halves {
        stream.set_nonblocking(true)?;
        let mut words = [0; 1024];
        if let Ok(count @ 1..) = stream.read(&mut words) {
            expect(&String::from_utf8_lossy(&words[..count]), "ResourceExhausted", "holds the most of it")?;
            closed += 1;
        }
    }
    ensure!(closed >= HALVES / 2, "{closed} of {HALVES} half messages were given up");
    Ok(())
}

/// Streams one message of 1 GB.
pub(super) fn one_gigabyte(socket: &Path) -> Result<()> {
    let mut stream = connect(socket)?;
    let taken = write_until_closed(&mut stream, STREAM_BYTES)?;
    ensure!(taken <= STREAM_TAKEN_MAX, "{taken} bytes of one message were taken");
    expect(&last_words(stream)?, "ResourceExhausted", "larger than 1048576 bytes")
}

/// Sends calls without reading their replies for as long as the daemon takes them, then reads: each was answered.
pub(super) fn calls_ahead(socket: &Path) -> Result<()> {
    let mut stream = connect(socket)?;
    let call = message(&json!({ "method": "acp.daemon.GetHealth", "parameters": {} }));
    let mut reader = stream.try_clone()?;
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || (0..CALLS).try_for_each(|_| stream.write_all(&call)));
        let (mut answered, mut bytes) = (0, vec![0; 64 << 10]);
        while answered < CALLS {
            let count = reader.read(&mut bytes).context("the daemon stopped answering")?;
            ensure!(count > 0, "closed after {answered} of {CALLS} calls");
            answered += bytes[..count].iter().filter(|byte| **byte == 0).count();
        }
        sending.join().map_err(|_panic| anyhow::anyhow!("the sender panicked"))?.context("the calls were not taken")
    })
}

/// Bytes without sense, JSON without end, numbers without bound: each gets an error or a closed connection.
pub(super) fn garbage(socket: &Path) -> Result<()> {
    let nested = |depth: usize| format!("{{\"method\":\"acp.daemon.GetHealth\",\"parameters\":{}", "[".repeat(depth));
    let closed = format!("{}{}}}", nested(100_000), "]".repeat(100_000));
    let long_name = format!("{{\"method\":\"{}\"}}", "x".repeat(500_000));
    let long_type = format!("{{\"method\":\"acp.daemon.SetLogLevel\",\"acp.ctx\":\"{}\"}}", "x".repeat(500_000));
    for text in [nested(500_000), closed, long_name.clone(), long_type, "\u{1F411}".repeat(10_000), String::new()] {
        let mut stream = connect(socket)?;
        let sent = stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(b"\0"));
        ensure!(
            sent.as_ref().map_or_else(|error| error.kind() == ErrorKind::BrokenPipe, |()| true),
            "not taken: {sent:?}"
        );
        stream.shutdown(std::net::Shutdown::Write)?;
        let words = last_words(stream)?;
        ensure!(words.contains("\"error\":"), "{} bytes were answered with {words:?}", text.len());
        ensure!(text == long_name || words.len() < 2_000, "an error of {} bytes", words.len());
    }
    Ok(())
}

/// Passes descriptors by the hundred, with a call and with a message that never ends.
pub(super) fn descriptors(socket: &Path) -> Result<()> {
    let (mut read_end, write_end) = std::io::pipe()?;
    let send = |stream: &UnixStream, bytes: &[u8], count: usize| -> rustix::io::Result<usize> {
        let passed = vec![write_end.as_fd(); count];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&passed)), "there is room for {count}");
        rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    };
    let mut polite = connect(socket)?;
    let call = message(&json!({ "method": "acp.daemon.GetHealth", "parameters": {} }));
    for _ in 0..10 {
        send(&polite, &call, 200)?;
        let (mut reply, mut byte) = (Vec::new(), [0]);
        while !reply.ends_with(b"\0") {
            polite.read_exact(&mut byte)?;
            reply.push(byte[0]);
        }
    }
    let endless = connect(socket)?;
    while send(&endless, b"x", 100).is_ok() {}
    expect(&last_words(endless)?, "ResourceExhausted", "more than 253 descriptors")?;
    drop((polite, write_end));
    let ended = read_end.read(&mut [0])?;
    ensure!(ended == 0, "the daemon keeps descriptors that nobody asked for");
    Ok(())
}

/// Connects and leaves, with and without a call on the way.
pub(super) fn come_and_go(socket: &Path) -> Result<()> {
    let call = message(&json!({ "method": "acp.daemon.GetMetrics", "parameters": {} }));
    for number in 0..STORM {
        let mut stream = connect(socket)?;
        if number % 2 == 0
            && let Err(error) = stream.write_all(&call)
        {
            ensure!(error.kind() == ErrorKind::BrokenPipe, "a call was not taken: {error}");
        }
    }
    Ok(())
}
