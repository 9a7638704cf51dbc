//! S3: floods at a node's door and through it: memory is bounded, and others are served.

use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{process, varlink::Conversation, wait_for};
use acp_io_link::{Class, limits};
use anyhow::{Context as _, Result, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use serde_json::json;

use super::{
    frames::Frames,
    peer::{Door, Peer, converse, inside, opening},
    traffic::Traffic,
};
use crate::{
    cluster::{AGENT_PORT, At, Cluster, answer, granted},
    harness::Case,
    world::LIMIT,
};

/// The cases of this line.
pub(crate) const CASES: &[Case<Cluster>] = &[
    Case { name: "nodes::s3_ten_thousand_half_open_connections_keep_nobody_out", run: half_open },
    Case { name: "nodes::s3_who_sends_slowly_is_not_waited_for", run: slow_senders },
    Case { name: "nodes::s3_floods_of_headers_and_of_streams_end_the_link_they_come_on", run: streams },
    Case { name: "nodes::s3_hundreds_of_conversations_and_one_too_many", run: conversations },
    Case { name: "nodes::s3_a_peer_that_stops_reading_costs_a_window", run: deaf_peer },
];

/// Connections that are opened and never say anything.
const HALF_OPEN: usize = 10_000;
/// How many of them are held open at once by us; far more than the door takes.
const HELD: usize = 700;
/// How much a daemon may have grown by a flood, in bytes: buffers of 256 handshakes and a busy allocator.
const GROWTH_BYTES_MAX: u64 = 32 << 20;
/// How long 99 in 100 calls beside a flood may take, on a machine that both keep busy.
const P99_MAX: Duration = Duration::from_millis(400);
/// How often a member may have to dial until its handshake is not displaced by the flood.
const DIALS_MAX: usize = 20;
/// Openings that are taken back at once.
const RESETS: u32 = 20_000;
/// Frames of headers without an end.
const HEADER_FRAMES: usize = 4_000;

/// Runs a flood beside calls and looks at what it has cost n1's agent.
fn survive(cluster: &Cluster, flood: impl FnOnce() -> Result<()>) -> Result<()> {
    let agent = cluster.unit(At::N1, "agent")?;
    let before = process::pss_bytes(agent.pid)?;
    let traffic = Traffic::new(cluster, At::N2, At::N1);
    let ((), tally) = traffic.beside(|| {
        flood()?;
        traffic.wait_answers(50)
    })?;
    tally.is_unharmed().context("calls beside the flood")?;
    ensure!(tally.p99() <= P99_MAX, "99 in 100 calls beside the flood took up to {:?}", tally.p99());
    ensure!(cluster.unit(At::N1, "agent")? == agent, "the agent was replaced meanwhile");
    let after = process::pss_bytes(agent.pid)?;
    ensure!(after.saturating_sub(before) <= GROWTH_BYTES_MAX, "the agent has grown from {before} to {after} bytes");
    Ok(())
}

fn half_open(cluster: &Cluster) -> Result<()> {
    let (peer, door) = (Peer::with_files_of(cluster.member(At::N3))?, Door::of(cluster, At::N1)?);
    survive(cluster, || {
        thread::scope(|scope| {
            let flood = scope.spawn(|| cluster.layout(At::N1).namespace().run(flood));
            let mut dialled = 0;
            while !flood.is_finished() {
                dial_through(cluster, &peer, &door)?;
                dialled += 1;
            }
            ensure!(dialled > 0, "the flood was over before a member dialled");
            flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// Opens all of them, the oldest of which are closed for the newest.
fn flood() -> Result<()> {
    let mut held = VecDeque::new();
    (0..HALF_OPEN).try_for_each(|number| {
        if held.len() == HELD {
            held.pop_front();
        }
        held.push_back(connect_from(number)?);
        Ok(())
    })
}

/// A connection to n1 from one of thousands of addresses, those of its own loopback: a limit for one address is easy to keep.
fn connect_from(number: usize) -> Result<TcpStream> {
    let address = u32::from(Ipv4Addr::new(127, 1, 0, 1)) + u32::try_from(number)? % 5_000;
    let from = SocketAddr::from((Ipv4Addr::from(address), 0));
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &from)?;
    connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, AGENT_PORT)))?;
    Ok(TcpStream::from(socket))
}

/// A member's handshake succeeds beside the flood, sooner or later: the newest displaces the oldest.
fn dial_through(cluster: &Cluster, peer: &Peer, door: &Door) -> Result<()> {
    inside(cluster, At::N3, async || {
        for _try in 0..DIALS_MAX {
            let Ok(link) = peer.link(door, Class::Calls).await else { continue };
            if let Ok(Ok(_conversation)) = converse(&link, &opening("agent", json!({}))).await {
                return Ok(());
            }
        }
        anyhow::bail!("a member was kept out {DIALS_MAX} times")
    })
}

/// What a client says first, one byte after the other: the door gives all of it together the time of one handshake.
fn slow_senders(cluster: &Cluster) -> Result<()> {
    // A handshake record that announces more than ever comes.
    const HELLO: [u8; 9] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
    const SENDERS: usize = 100;
    survive(cluster, || {
        let started = Instant::now();
        let connect_all = || (0..SENDERS).map(connect_from).collect::<Result<Vec<TcpStream>>>();
        let mut senders = cluster.layout(At::N1).namespace().run(connect_all)?;
        senders.iter().try_for_each(|sender| sender.set_nonblocking(true))?;
        let mut sent = HELLO.into_iter().chain(std::iter::repeat(0));
        let limit = limits::HANDSHAKE_LIMIT + Duration::from_secs(2);
        wait_for("slow senders to be hung up on", limit, || {
            let byte = [sent.next().unwrap_or_default()];
            senders.retain_mut(|sender| sender.write_all(&byte).is_ok() && !is_closed(sender));
            if senders.is_empty() { Ok(()) } else { Err(format!("{} are still heard", senders.len())) }
        })?;
        ensure!(started.elapsed() >= limits::HANDSHAKE_LIMIT / 2, "they were hung up on before their time");
        Ok(())
    })
}

fn is_closed(sender: &mut TcpStream) -> bool {
    match sender.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn streams(cluster: &Cluster) -> Result<()> {
    let (peer, door) = (Peer::with_files_of(cluster.member(At::N3))?, Door::of(cluster, At::N1)?);
    let opening = r#"{"service":"agent","context":{}}"#;
    survive(cluster, || {
        inside(cluster, At::N3, async || {
            let mut frames = Frames::begin(peer.dial(&door, Class::Calls).await?).await?;
            for number in 0..RESETS {
                let stream = 2 * number + 1;
                let sent = frames.open(stream, opening).await;
                if sent.is_err() || frames.reset(stream).await.is_err() {
                    break;
                }
            }
            frames.wait_end(LIMIT).await.context("a flood of openings that are taken back")?;
            let mut frames = Frames::begin(peer.dial(&door, Class::Calls).await?).await?;
            frames.begin_block(1, opening).await?;
            for _frame in 0..HEADER_FRAMES {
                if frames.go_on(1).await.is_err() {
                    break;
                }
            }
            frames.wait_end(LIMIT).await.context("a flood of headers")
        })
    })
}

/// More conversations than a link carries, through n2's own agent: those beyond are refused in words.
fn conversations(cluster: &Cluster) -> Result<()> {
    let many = usize::try_from(limits::CONVERSATIONS_MAX)?;
    let asked = json!({ "service": "cluster", "node": "n1", "key": cluster.root_key(At::N2)? });
    let mut open: Vec<Conversation> = Vec::new();
    let mut refused = None;
    for number in 0..4 * many {
        match cluster.ask_to_open(At::N2, &asked)? {
            Ok(conversation) => open.push(conversation),
            Err(full) => {
                ensure!(full.code == "ResourceExhausted", "number {number} was refused with {full:?}");
                ensure!(full.retry == "later", "it is not said that it passes: {full:?}");
                refused = Some(full);
                break;
            }
        }
    }
    ensure!(open.len() >= 200, "only {} conversations could be opened", open.len());
    ensure!(refused.is_some(), "{} conversations were opened and none was too many", open.len());
    for conversation in &mut open {
        granted(answer(conversation.call("acp.cluster.GetStatus", json!({}))?))?;
    }
    drop(open);
    wait_for("conversations to be had again", LIMIT, || match cluster.open(At::N2, At::N1, "cluster") {
        Ok(mut conversation) => {
            conversation.call("acp.cluster.GetStatus", json!({})).map_err(|error| format!("{error:#}"))
        }
        Err(error) => Err(format!("{error:#}")),
    })
    .map(drop)
}

/// Streams of a gigabyte each that nobody reads, beside calls on the same link.
fn deaf_peer(cluster: &Cluster) -> Result<()> {
    const DEAF: usize = 64;
    let measure = json!({ "send_bytes": 0, "receive_bytes": 1_u64 << 30 });
    let message = json!({ "method": "acp.agent.Measure", "parameters": measure, "upgrade": true });
    let deaf = |bulk: bool| -> Result<Conversation> {
        let asked = json!({ "service": "agent", "node": "n1", "key": cluster.root_key(At::N2)?, "bulk": bulk });
        let opened = cluster.ask_to_open(At::N2, &asked)?;
        let mut conversation = opened.map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
        conversation.send(&message)?;
        Ok(conversation)
    };
    let near = cluster.unit(At::N2, "agent")?;
    let before = process::pss_bytes(near.pid)?;
    survive(cluster, || {
        let held = (0..DEAF).map(|number| deaf(number % 8 == 0)).collect::<Result<Vec<_>>>()?;
        let mut last = cluster.open(At::N2, At::N1, "cluster")?;
        for _call in 0..20 {
            granted(answer(last.call("acp.cluster.GetStatus", json!({}))?))
                .context("beside streams that stand still")?;
        }
        drop(held);
        Ok(())
    })?;
    let after = process::pss_bytes(near.pid)?;
    ensure!(
        after.saturating_sub(before) <= 2 * GROWTH_BYTES_MAX,
        "n2's agent has grown from {before} to {after} bytes"
    );
    Ok(())
}
