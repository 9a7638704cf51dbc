//! F1: a call to a daemon against a raw exchange of the same bytes over a Unix socket between two processes.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use acp_dev_testkit::wait_for;
use acp_io_client::Client;
use acp_wire_api::{Empty, daemon::GetHealth};
use anyhow::{Context as _, Result, ensure};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

use crate::{
    Setup, block_on,
    figure::{Figure, Report, micros, percentile},
    node,
    programs::{Running, own},
};

/// The promise: ours against the raw exchange, at the median.
const RATIO_LIMIT: f64 = 2.0;
/// The daemon that is called: any would do, all share the chassis.
const NOUN: &str = "cluster";
/// Calls before anything is measured: caches, allocator and branch predictor are then as they stay.
const WARM_UP_CALLS: usize = 2_000;
/// Both sides take turns, so that other load on the machine meets both.
const ROUNDS: usize = 10;
/// Calls of each side in each round.
const ROUND_CALLS: usize = 2_000;
/// Clients for the figure under load.
const CLIENTS: usize = 32;
/// Rounds of that; the best counts, which no other load has disturbed.
const LOAD_ROUNDS: usize = 3;
/// How long the clients call in each round.
const LOAD_TIME: Duration = Duration::from_secs(1);
/// The environment in which the raw server is told its socket and the sizes of request and reply.
const RAW_ENVIRONMENT: [&str; 3] = ["ACP_BENCH_SOCKET", "ACP_BENCH_REQUEST", "ACP_BENCH_REPLY"];

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let node = node(&setup.bin)?;
    let (request, reply) = exchanged_bytes(&node.socket(NOUN), &node.layout().dir().join("tapped"))?;
    let raw = RawServer::start(&node.layout().dir().join("raw.sock"), request, reply)?;
    let servers = [node.unit_process(NOUN)?.pid, raw.process.pid()?];
    block_on(measure(node.layout().run(), &raw, &servers))
}

async fn measure(run_dir: PathBuf, raw: &RawServer, servers: &[i32]) -> Result<Report> {
    let (mut ours, mut peer) = alternate(&run_dir, raw).await?;
    // Between processors most of the time goes into waking an idle one; on one alone the work of both sides is what is left.
    let everywhere = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|cpu| everywhere.is_set(*cpu)).context("there is a processor")?);
    run_on(servers, &one)?;
    let alone = alternate(&run_dir, raw).await;
    run_on(servers, &everywhere)?;
    let (mut ours_alone, mut peer_alone) = alone?;
    let (mut our_rate, mut peer_rate) = (0.0_f64, 0.0_f64);
    for _ in 0..LOAD_ROUNDS {
        our_rate = our_rate.max(rate_of_calls(&run_dir).await?);
        peer_rate = peer_rate.max(rate_of_exchanges(raw).await?);
    }
    let (our_p50, peer_p50) = (percentile(&mut ours, 0.5), percentile(&mut peer, 0.5));
    let (our_alone, peer_alone) = (percentile(&mut ours_alone, 0.5), percentile(&mut peer_alone, 0.5));
    let figures = vec![
        Figure::ratio_at_most("one client, p50", our_p50, peer_p50, RATIO_LIMIT, "us"),
        Figure::shown("one client, p99", percentile(&mut ours, 0.99), percentile(&mut peer, 0.99), "us"),
        Figure::shown("one client, one processor, p50", our_alone, peer_alone, "us"),
        Figure::shown("32 clients", our_rate, peer_rate, "calls/s"),
    ];
    Ok(Report { bench: "local-call", figures })
}

/// Calls of one client and raw exchanges in turns; the microseconds of each.
async fn alternate(run_dir: &Path, raw: &RawServer) -> Result<(Vec<f64>, Vec<f64>)> {
    let client = Client::new(run_dir);
    let mut pipe = RawClient::connect(raw).await?;
    for _ in 0..WARM_UP_CALLS {
        call(&client).await?;
        pipe.exchange().await?;
    }
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..ROUND_CALLS {
            let started = Instant::now();
            call(&client).await?;
            ours.push(micros(started.elapsed()));
        }
        for _ in 0..ROUND_CALLS {
            let started = Instant::now();
            pipe.exchange().await?;
            peer.push(micros(started.elapsed()));
        }
    }
    Ok((ours, peer))
}

/// Lets this process and those it talks to run on these processors only.
fn run_on(servers: &[i32], processors: &CpuSet) -> Result<()> {
    sched_setaffinity(None, processors)?;
    for pid in servers {
        sched_setaffinity(Pid::from_raw(*pid), processors)?;
    }
    Ok(())
}

async fn call(client: &Client) -> Result<()> {
    let health = client.service(NOUN).call::<GetHealth>(Empty {}).await?;
    ensure!(health.ready, "{NOUN} is not ready: {}", health.reason);
    Ok(())
}

/// Calls per second of many clients, each with a connection of its own.
async fn rate_of_calls(run_dir: &Path) -> Result<f64> {
    let clients = (0..CLIENTS).map(|_| {
        let client = Client::new(run_dir);
        async move {
            let (started, mut count) = (Instant::now(), 0_u32);
            while started.elapsed() < LOAD_TIME {
                call(&client).await?;
                count += 1;
            }
            Ok::<_, anyhow::Error>(f64::from(count) / started.elapsed().as_secs_f64())
        }
    });
    Ok(futures_util::future::try_join_all(clients).await?.into_iter().sum())
}

async fn rate_of_exchanges(raw: &RawServer) -> Result<f64> {
    let clients = (0..CLIENTS).map(|_| async move {
        let mut client = RawClient::connect(raw).await?;
        let (started, mut count) = (Instant::now(), 0_u32);
        while started.elapsed() < LOAD_TIME {
            client.exchange().await?;
            count += 1;
        }
        Ok::<_, anyhow::Error>(f64::from(count) / started.elapsed().as_secs_f64())
    });
    Ok(futures_util::future::try_join_all(clients).await?.into_iter().sum())
}

/// How many bytes a call of the daemon at this socket and its reply are, ends included: read off a real call that is passed
/// through a socket in `directory`.
pub(crate) fn exchanged_bytes(socket: &Path, directory: &Path) -> Result<(usize, usize)> {
    std::fs::create_dir_all(directory)?;
    block_on(async {
        let listener = UnixListener::bind(directory.join(format!("{NOUN}.sock")))?;
        let client = Client::new(directory);
        let passing = async {
            let (mut near, _address) = listener.accept().await?;
            let mut far = UnixStream::connect(socket).await?;
            let request = read_message(&mut near).await?;
            far.write_all(&request).await?;
            let reply = read_message(&mut far).await?;
            near.write_all(&reply).await?;
            Ok::<_, anyhow::Error>((request.len(), reply.len()))
        };
        let (called, sizes) = tokio::join!(call(&client), passing);
        called.context("the call that was to be measured failed")?;
        sizes
    })
}

async fn read_message(stream: &mut UnixStream) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    while message.last() != Some(&0) {
        ensure!(stream.read_buf(&mut message).await? > 0, "the connection ended within a message");
    }
    Ok(message)
}

/// A process that answers bytes with bytes.
struct RawServer {
    process: Running,
    socket: PathBuf,
    request: usize,
    reply: usize,
}

impl RawServer {
    fn start(socket: &Path, request: usize, reply: usize) -> Result<Self> {
        let [socket_name, request_name, reply_name] = RAW_ENVIRONMENT;
        let mut command = own("raw-server")?;
        command.env(socket_name, socket).env(request_name, request.to_string()).env(reply_name, reply.to_string());
        let process = Running::start(&mut command)?;
        let server = Self { process, socket: socket.to_owned(), request, reply };
        wait_for("the raw server's socket", Duration::from_secs(10), || {
            if socket.exists() { Ok(()) } else { Err("it is not there") }
        })?;
        Ok(server)
    }
}

/// A connection to the raw server.
struct RawClient {
    stream: UnixStream,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl RawClient {
    async fn connect(server: &RawServer) -> Result<Self> {
        let stream = UnixStream::connect(&server.socket).await.context("cannot connect to the raw server")?;
        Ok(Self { stream, request: vec![b'x'; server.request], reply: vec![0; server.reply] })
    }

    async fn exchange(&mut self) -> Result<()> {
        self.stream.write_all(&self.request).await?;
        self.stream.read_exact(&mut self.reply).await?;
        Ok(())
    }
}

/// The far side: answers each request of a known size with a reply of a known size, until it is killed.
pub fn serve_raw() -> Result<()> {
    let setting = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let [socket, request, reply] = RAW_ENVIRONMENT;
    let (socket, request, reply) = (setting(socket)?, setting(request)?.parse()?, setting(reply)?.parse()?);
    block_on(async move {
        let listener = UnixListener::bind(socket)?;
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _address) = listener.accept().await?;
            connections.spawn(answer(stream, request, reply));
        }
    })
}

async fn answer(mut stream: UnixStream, request: usize, reply: usize) -> std::io::Result<()> {
    let (mut incoming, outgoing) = (vec![0; request], vec![b'y'; reply]);
    loop {
        stream.read_exact(&mut incoming).await?;
        stream.write_all(&outgoing).await?;
    }
}
