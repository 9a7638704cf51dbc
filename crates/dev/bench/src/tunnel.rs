//! F2 of nodes: a bulk stream through both agents against bare tokio-rustls between the same namespaces, what either costs in
//! processor time, and a small call beside the stream.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use acp_io_client::Client;
use acp_wire_api::agent::{Measure, MeasureRequest};
use anyhow::Result;

use crate::{
    Setup,
    bare_tls::{Certificates, Server, receive, send},
    block_on,
    cluster::Cluster,
    cpu,
    figure::{Figure, Report, megabytes, micros, percentile},
    remote_call::{BARE_PORT, call},
};

/// The promise: ours is at least this share of the bare throughput.
const SHARE_LIMIT: f64 = 0.6;
/// The promise for a small call beside a stream, at the median, in microseconds.
const CALL_LIMIT: f64 = 1_000.0;
/// Bytes of one stream: about half a second of it.
const STREAM_BYTES: u64 = 512 << 20;
/// Streams of each side in each direction, taken in turns; the median counts.
const STREAMS: usize = 5;
/// What the side that took the bytes sends back when it has them all.
const RECEIPT_BYTES: u64 = 1;
/// How long a stream may take to be opened.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// Small calls before the stream runs, and beside it.
const WARM_UP_CALLS: usize = 100;
/// See [`WARM_UP_CALLS`].
const CALLS: usize = 2_000;
/// The bytes of a small call and its reply on the bare side, about those of ours.
const CALL_BYTES: usize = 256;

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let cluster = Cluster::start(&setup.bin, 2)?;
    let (near, far) = (cluster.member(1)?, cluster.member(2)?);
    let certificates = Certificates::make(&cluster.dir().join("certificates"))?;
    let address = SocketAddr::from((far.address(), BARE_PORT));
    let bare = Server::start(&certificates, &far.layout.namespace(), address)?;
    let agents = [cluster.process(1, "agent")?.pid, cluster.process(2, "agent")?.pid];
    let client = cluster.client(1, 2)?;
    let caller = cluster.client(1, 2)?;
    near.layout.namespace().run(|| {
        let mut figures = compare(&client, &bare, &agents, Direction::There)?;
        figures.extend(compare(&client, &bare, &agents, Direction::Back)?);
        let mut ours = beside(|| block_on(Direction::There.through_agents(&client)), || block_on(calls(&caller)))?;
        let mut peer = beside(|| block_on(Direction::There.bare(&bare)), || block_on(exchanges(&bare)))?;
        figures.push(Figure::at_most("a call beside a stream, p50", percentile(&mut ours, 0.5), CALL_LIMIT, "us"));
        let p99 = (percentile(&mut ours, 0.99), percentile(&mut peer, 0.99));
        figures.push(Figure::shown("beside a stream, bare TLS, p99", p99.0, p99.1, "us"));
        Ok(Report { bench: "tunnel", figures })
    })
}

/// Which way the bytes of a stream go.
#[derive(Clone, Copy, Debug)]
enum Direction {
    There,
    Back,
}

impl Direction {
    /// Bytes there and back.
    const fn bytes(self) -> (u64, u64) {
        match self {
            Self::There => (STREAM_BYTES, RECEIPT_BYTES),
            Self::Back => (RECEIPT_BYTES, STREAM_BYTES),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::There => "sent",
            Self::Back => "received",
        }
    }

    /// One stream from this node to the other one's agent, on a connection of its own.
    async fn through_agents(self, client: &Client) -> Result<()> {
        let (send_bytes, receive_bytes) = self.bytes();
        let agent = client.service("agent").bulk().deadline(OPEN_LIMIT);
        let (_empty, mut stream) = agent.upgrade::<Measure>(MeasureRequest { send_bytes, receive_bytes }).await?;
        send(&mut stream, send_bytes).await?;
        receive(&mut stream, receive_bytes).await
    }

    async fn bare(self, server: &Server) -> Result<()> {
        let (sent, received) = self.bytes();
        server.transfer(sent, received).await
    }
}

/// What one stream took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Megabytes in a second.
    rate: f64,
    /// Seconds of processor time for a gigabyte, on both sides.
    processor: f64,
}

/// Streams of both sides in turns; the first of each is not measured.
fn compare(client: &Client, bare: &Server, agents: &[i32], direction: Direction) -> Result<Vec<Figure>> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..=STREAMS {
        ours.push(cost(agents, || block_on(direction.through_agents(client)))?);
        peer.push(cost(&[bare.process.pid()?], || block_on(direction.bare(bare)))?);
    }
    let median =
        |costs: &[Cost], of: fn(&Cost) -> f64| percentile(&mut costs[1..].iter().map(of).collect::<Vec<_>>(), 0.5);
    let rates = (median(&ours, |cost| cost.rate), median(&peer, |cost| cost.rate));
    let processor = (median(&ours, |cost| cost.processor), median(&peer, |cost| cost.processor));
    let word = direction.word();
    Ok(vec![
        Figure::ratio_at_least(&format!("bulk {word}, bare TLS"), rates.0, rates.1, SHARE_LIMIT, "MB/s"),
        Figure::shown(&format!("bulk {word}, processor time"), processor.0, processor.1, "s/GB"),
    ])
}

/// What the stream takes that `work` carries, by this thread and these processes.
fn cost(processes: &[i32], work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let spent = || -> Result<Duration> { Ok(cpu::of_thread()? + cpu::of_processes(processes)?) };
    let (before, started) = (spent()?, Instant::now());
    work()?;
    let (taken, spent) = (started.elapsed(), spent()?.saturating_sub(before));
    let megabytes = megabytes(STREAM_BYTES);
    Ok(Cost { rate: megabytes / taken.as_secs_f64(), processor: spent.as_secs_f64() / megabytes * 1e3 })
}

/// What `calls` measures while streams run one after the other.
fn beside(stream: impl Fn() -> Result<()> + Sync, calls: impl FnOnce() -> Result<Vec<f64>>) -> Result<Vec<f64>> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let streaming = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                stream()?;
            }
            Ok::<_, anyhow::Error>(())
        });
        let times = calls();
        is_over.store(true, Ordering::Relaxed);
        match streaming.join() {
            Ok(streamed) => streamed?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        times
    })
}

/// The microseconds of small calls on an open conversation.
async fn calls(client: &Client) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..WARM_UP_CALLS + CALLS {
        let started = Instant::now();
        call(client).await?;
        times.push(micros(started.elapsed()));
    }
    Ok(times.split_off(WARM_UP_CALLS))
}

async fn exchanges(server: &Server) -> Result<Vec<f64>> {
    let mut open = server.ping_pong(CALL_BYTES, CALL_BYTES).await?;
    let mut times = Vec::new();
    for _ in 0..WARM_UP_CALLS + CALLS {
        let started = Instant::now();
        open.exchange().await?;
        times.push(micros(started.elapsed()));
    }
    Ok(times.split_off(WARM_UP_CALLS))
}
