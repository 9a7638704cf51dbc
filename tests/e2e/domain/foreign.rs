//! S6: datagrams of another cluster, recorded ones, damaged ones, huge ones, and those of a member whose key has been turned twice
//! without it.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

use acp_base::Uid;
use acp_dev_testkit::{process, wait_for};
use acp_io_datagram::{Channel, GroupKey, Identity, KeyRing, Path, Sealer, group_address};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use super::{create, delete, refused, wait_state};
use crate::quorum::{
    Five,
    five::{HOST, LIMIT, NODES},
};

/// Whose datagrams are refused, from whose network they are sent.
const VICTIM: usize = 2;
const SENDER: usize = 3;
/// Where the payload of a datagram begins, and its counter.
const PAYLOAD_AT: usize = 54;
const COUNTER_AT: usize = 45;
/// Datagrams recorded, and how long they are waited for: each node multicasts a probe every 400 ms.
const RECORDED: usize = 24;
const RECORDING: Duration = Duration::from_secs(10);
/// The longest datagram that IPv4 carries.
const HUGE: usize = 65_507;

/// The group of the cluster, heard and spoken to from a node's network as by a stranger on its link.
struct Group {
    socket: UdpSocket,
    at: SocketAddr,
}

impl Group {
    fn join(five: &Five, node: usize) -> Result<Self> {
        let cluster: Uid = five.call(1, "agent", "acp.agent.GetStatus", json!({}))?["cluster"]["uid"]
            .as_str()
            .context("a cluster with a uid")?
            .parse()?;
        let own = five.member(node).address();
        let std::net::IpAddr::V4(group) = group_address(cluster, own.into()) else {
            anyhow::bail!("the lab speaks IPv4");
        };
        let port = address(five, node)?.port();
        five.member(node).layout.namespace().run(|| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddrV4::new(group, port).into())?;
            socket.join_multicast_v4(&group, &own)?;
            socket.set_multicast_if_v4(&own)?;
            socket.set_read_timeout(Some(RECORDING))?;
            Ok(Self { socket: socket.into(), at: SocketAddrV4::new(group, port).into() })
        })
    }

    /// What the cluster says to its group.
    fn record(&self) -> Result<Vec<Vec<u8>>> {
        let mut buffer = [0; 2_048];
        let one = || {
            let bytes = self.socket.recv(&mut buffer).context("nobody says anything to the group")?;
            Ok(buffer[..bytes].to_vec())
        };
        std::iter::repeat_with(one).take(RECORDED).collect()
    }
}

/// Where a node hears datagrams.
fn address(five: &Five, node: usize) -> Result<SocketAddr> {
    let domain = five.call(node, "cluster", "acp.cluster.GetDomain", json!({}))?;
    Ok(domain["address"].as_str().context("an address")?.parse()?)
}

/// A datagram as a member of another cluster seals it.
fn of_another_cluster() -> Result<Vec<u8>> {
    let identity =
        Identity { cluster: Uid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001), node: Uid::from_u128(7) };
    let mut sealer = Sealer::new(identity, 1, &KeyRing::new(GroupKey::generate(1)?))?;
    let mut datagram = Vec::new();
    sealer.seal(Path::Multicast, Channel::Sync, b"whatever", &mut datagram)?;
    Ok(datagram)
}

fn damaged(datagram: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = datagram.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    bytes
}

/// What arrives by the group, and by the node's own address.
pub(super) fn datagrams(five: &Five) -> Result<()> {
    let reasons = ["cluster", "replayed", "forged", "path", "truncated", "oversized"];
    let before: Vec<u64> = reasons.iter().map(|reason| refused(five, VICTIM, reason)).collect::<Result<_>>()?;
    let metric = |reason: &str| five.metric(VICTIM, "cluster", "acp_datagrams_refused_total", &format!("\"{reason}\""));
    let counted: Vec<f64> = reasons.iter().map(|reason| metric(reason)).collect::<Result<_>>()?;
    let group = Group::join(five, SENDER)?;
    let recorded = group.record()?;
    let to = address(five, VICTIM)?;
    let longest = recorded.iter().max_by_key(|datagram| datagram.len()).context("something was recorded")?;
    ensure!(longest.len() > PAYLOAD_AT, "what was recorded is no datagram of a cluster: {longest:?}");
    let other = of_another_cluster()?;
    for datagram in &recorded {
        // Again as it is; with a counter that was not heard yet; with another payload under such a counter.
        let renumbered = damaged(datagram, COUNTER_AT + 4);
        for said in
            [datagram, &renumbered, &damaged(&renumbered, PAYLOAD_AT), &other, &datagram[..PAYLOAD_AT - 1].to_vec()]
        {
            group.socket.send_to(said, group.at)?;
        }
    }
    five.member(SENDER).layout.namespace().run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("a socket")?;
        // To the group it was said, and not to the node.
        socket.send_to(longest, to)?;
        socket.send_to(&vec![1; HUGE], to)?;
        anyhow::Ok(())
    })?;
    for ((reason, before), counted) in reasons.iter().zip(before).zip(counted) {
        wait_for(&format!("datagrams to be refused as {reason}"), LIMIT, || {
            let now = refused(five, VICTIM, reason).map_err(|error| format!("{error:#}"))?;
            let metric = metric(reason).map_err(|error| format!("{error:#}"))?;
            if now > before && metric > counted {
                Ok(())
            } else {
                Err(format!("{before} -> {now}, {counted} -> {metric}"))
            }
        })?;
    }
    create(five, "unmoved")?;
    wait_state(five, &NODES, "unmoved", "stopped", LIMIT)?;
    let peers = five.json(VICTIM, &["domain", "show"])?["peers"].take();
    let silent = peers.as_array().context("peers")?.iter().filter(|peer| peer["ring"] != "alive");
    ensure!(silent.count() == 0, "somebody is not heard any more: {peers}");
    delete(five, "unmoved")
}

/// Has the leader make a new key, as when a member has one that no hub knows: says so in the name of a node's cluster service.
fn turn(five: &Five, node: usize) -> Result<u64> {
    let key = |node: usize| -> Result<u64> {
        let domain = five.call(node, "cluster", "acp.cluster.GetDomain", json!({}))?;
        domain["key"].as_u64().context("a key")
    };
    let before = key(node)?;
    wait_for(&format!("n{node} to seal with a key above {before}"), LIMIT, || {
        claim(five, node, before + 1).map_err(|error| format!("{error:#}"))?;
        let now = key(node).map_err(|error| format!("{error:#}"))?;
        if now > before { Ok(now) } else { Err(now.to_string()) }
    })
}

/// A program that says which key its node has, to the hub of the node.
const CLAIM: &str = "
import json, socket, sys
hub = socket.socket(socket.AF_UNIX)
hub.connect(sys.argv[1])
hub.sendall(json.dumps({'method': 'acp.hub.SyncKeys', 'parameters': {'installed': int(sys.argv[2])}}).encode() + b'\\0')
print(hub.recv(65536).rstrip(b'\\0').decode())
";

fn claim(five: &Five, node: usize, number: u64) -> Result<()> {
    // The hub tells callers apart by their users, and answers the cluster service alone.
    let pid = five.unit(node, "cluster")?.pid;
    let own = |field: &str| -> Result<String> {
        let all = process::status(pid, field)?;
        Ok(all.split_whitespace().collect::<Vec<_>>().join(","))
    };
    let first = |all: String| all.split(',').next().unwrap_or_default().to_owned();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &first(own("Uid")?), "--regid", &first(own("Gid")?)]);
    match own("Groups")? {
        none if none.is_empty() => command.arg("--clear-groups"),
        groups => command.args(["--groups", &groups]),
    };
    command.args(["/usr/bin/python3", "-c", CLAIM]).arg(five.member(node).layout.socket("hub")).arg(number.to_string());
    let said = command.stdin(Stdio::null()).output().context("cannot run setpriv")?;
    let reply: Value = serde_json::from_slice(&said.stdout)
        .with_context(|| format!("python3 said {}", String::from_utf8_lossy(&said.stderr)))?;
    ensure!(reply["error"].is_null(), "the hub answered {reply}");
    Ok(())
}

/// A member is heard and hears nothing while the key is turned twice; then it hears again.
pub(super) fn key(five: &Five) -> Result<()> {
    const AWAY: usize = 4;
    if five.leader()? == AWAY {
        five.hand_over_to(1)?;
    }
    create(five, "turned")?;
    wait_state(five, &NODES, "turned", "stopped", LIMIT)?;
    let before = refused(five, VICTIM, "older-key")?;
    five.cut(&format!("n1,n2,n3,n5>n{AWAY}"))?;
    for _turn in 0..2 {
        turn(five, VICTIM)?;
    }
    wait_for(&format!("what n{AWAY} says to be refused"), LIMIT, || {
        let now = refused(five, VICTIM, "older-key").map_err(|error| format!("{error:#}"))?;
        if now > before { Ok(()) } else { Err(now.to_string()) }
    })?;
    five.run(HOST, &["system", "start", "turned", "--wait"])?;
    wait_state(five, &[1, 2, 3, HOST], "turned", "running", LIMIT)?;
    five.heal()?;
    wait_state(five, &NODES, "turned", "running", LIMIT)?;
    let settled = refused(five, VICTIM, "older-key")?;
    // And it is heard again: its own words come with the new key.
    super::wait_multicast(five)?;
    let key = |node: usize| -> Result<Value> {
        Ok(five.call(node, "cluster", "acp.cluster.GetDomain", json!({}))?["key"].take())
    };
    ensure!(key(AWAY)? == key(VICTIM)?, "n{AWAY} seals with {} and n{VICTIM} with {}", key(AWAY)?, key(VICTIM)?);
    ensure!(refused(five, VICTIM, "older-key")? <= settled, "n{AWAY} is refused still");
    five.run(HOST, &["--yes", "system", "stop", "turned", "--wait"])?;
    delete(five, "turned")
}
