//! `acpctl network doctor`: every node is asked how well it reaches every other one.

use std::time::Duration;

use acp_base::{Failure, Name};
use acp_client::home::CLUSTER;
use acp_wire_api::{
    Empty,
    agent::ListMembers,
    cluster::{Domain, DomainPeer, GetDomain, Way},
    hub::RingStateKind,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{cluster::AGENT, domain};
use crate::{
    error,
    output::{Column, Style},
    session::Session,
};

/// Nodes asked at once.
const AT_ONCE: usize = 16;

/// How long one node may take if the caller gives no time.
const PATIENCE: Duration = Duration::from_secs(3);

/// From which loss of echoes on a way is in trouble, in permille: SWIM and the replication bear this, calls become slow.
const LOSS_MAX: u32 = 20;

/// From which difference clocks are in trouble, in milliseconds: logs of two nodes cannot be read side by side any more.
const OFFSET_MAX: i64 = 500;

/// From which round trip a way is in trouble, in microseconds: one tenth of what SWIM waits for an answer.
const ROUND_TRIP_MAX: u64 = 13_000;

/// From which silence another domain is in trouble: its nodes say where they stand every 2 s.
const SILENCE_MAX: Duration = Duration::from_secs(7);

const COLUMNS: &[Column] = &[
    Column("FROM", "/from", Style::Plain),
    Column("TO", "/node", Style::Plain),
    Column("SENT BY", "/way", Style::Plain),
    Column("RTT MS", "/round_trip_ms", Style::Plain),
    Column("LOSS %", "/loss_percent", Style::Plain),
    Column("MULTICAST LOSS %", "/multicast_loss_percent", Style::Plain),
    Column("MTU", "/mtu_bytes", Style::Plain),
    Column("CLOCK MS", "/clock_offset_ms", Style::Plain),
    Column("RING", "/ring", Style::State),
    Column("PROBLEM", "/problem", Style::Plain),
];

pub(super) async fn run(session: &mut Session) -> Result<u8, Failure> {
    let members = session.call::<ListMembers>(AGENT, Empty {}).await?.nodes;
    let names: Vec<Name> = members.into_iter().map(|member| member.name).collect();
    let asked: Vec<(Name, Result<Domain, Failure>)> =
        stream::iter(names).map(|name| ask(session, name)).buffered(AT_ONCE).collect().await;
    let (mut rows, mut problems) = (Vec::new(), 0_usize);
    for (name, answer) in asked {
        match answer {
            Ok(domain) => {
                problems += usize::from(!domain.trouble.is_empty());
                if !domain.trouble.is_empty() {
                    error::say(&format!("{name}: {}", domain.trouble));
                }
                rows.extend(domain.peers.iter().map(|peer| row(&name, domain.mtu_bytes, peer)));
            }
            Err(failure) => {
                problems += 1;
                error::say(&format!("{name} does not answer: {failure}"));
            }
        }
    }
    problems += rows.iter().filter(|row| !row["problem"].is_null()).count();
    session.out.list(&rows, COLUMNS)?;
    match problems {
        0 => Ok(crate::DONE),
        _ => Ok(acp_base::Code::Unavailable.exit_status()),
    }
}

async fn ask(session: &Session, name: Name) -> (Name, Result<Domain, Failure>) {
    let patience = session.timeout().unwrap_or(PATIENCE);
    let asked =
        async { session.acp().on(Some(&name)).service(CLUSTER)?.deadline(patience).call::<GetDomain>(Empty {}).await };
    let answer = asked.await;
    (name, answer)
}

fn row(from: &Name, needed: Option<u32>, peer: &DomainPeer) -> Value {
    let mut row = domain::row(peer);
    row["from"] = json!(from);
    row["problem"] = json!(problem(peer, needed));
    row
}

/// What is wrong on the way, the worst first; `needed` is how large the packets of datagrams are at most.
fn problem(peer: &DomainPeer, needed: Option<u32>) -> Option<String> {
    if peer.way == Way::Relay {
        return problem_abroad(peer);
    }
    let offset = peer.clock_offset_ms.unwrap_or(0);
    if peer.round_trip_us.is_none() {
        return Some("no echo has come back yet".to_owned());
    }
    if peer.unicast_loss_permille.is_some_and(|loss| loss >= 1_000) {
        return Some("unreachable: no echo comes back".to_owned());
    }
    if peer.ring == Some(RingStateKind::Down) {
        return Some("the ring takes it for dead".to_owned());
    }
    if let Some(loss) = peer.unicast_loss_permille.filter(|loss| *loss > LOSS_MAX) {
        return Some(format!("{}.{} % of the echoes are lost", loss / 10, loss % 10));
    }
    if let Some((mtu, needed)) = peer.mtu_bytes.zip(needed).filter(|(mtu, needed)| mtu < needed) {
        return Some(format!("packets of {mtu} bytes pass, and those of {needed} do not, which datagrams need"));
    }
    if peer.is_heard != peer.hears {
        let ways = if peer.is_heard { "back, and not there" } else { "there, and not back" };
        return Some(format!("multicast passes one way: {ways}"));
    }
    if peer.way == Way::Unicast {
        return Some("multicast does not pass; it is sent copies".to_owned());
    }
    if offset.abs() > OFFSET_MAX {
        return Some(format!("its clock is {} ms {}", offset.abs(), if offset > 0 { "ahead" } else { "behind" }));
    }
    peer.round_trip_us
        .filter(|trip| *trip > ROUND_TRIP_MAX)
        .map(|trip| format!("a round trip takes {} ms", trip / 1_000))
}

/// What is wrong on the way to a node of another domain, which relays are.
fn problem_abroad(peer: &DomainPeer) -> Option<String> {
    let silence = Duration::from_millis(peer.silent_for_ms.unwrap_or(u64::MAX));
    match &peer.via {
        None => Some("no relay has told of it yet".to_owned()),
        Some(via) if silence > SILENCE_MAX => {
            Some(format!("its domain is not heard: relay {via} last told of it {} s ago", silence.as_secs()))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> DomainPeer {
        DomainPeer {
            node: "n2".parse().expect("a name"),
            domain: None,
            via: None,
            address: String::new(),
            way: Way::Multicast,
            way_for_ms: 1,
            hears: true,
            is_heard: true,
            multicast_loss_permille: Some(0),
            unicast_loss_permille: Some(0),
            round_trip_us: Some(300),
            clock_offset_ms: Some(-3),
            mtu_bytes: Some(1_428),
            silent_for_ms: Some(10),
            is_whole: true,
            slots: 3,
            ring: Some(RingStateKind::Alive),
        }
    }

    #[test]
    fn each_trouble_is_named_and_a_good_way_has_none() {
        assert_eq!(problem(&peer(), Some(1_428)), None);
        let abroad = |via: Option<&str>, silent_for_ms| DomainPeer {
            way: Way::Relay,
            domain: Some("west".to_owned()),
            via: via.map(|via| via.parse().expect("a name")),
            silent_for_ms,
            round_trip_us: None,
            ..peer()
        };
        assert_eq!(problem(&abroad(Some("n4"), Some(2_000)), Some(1_428)), None);
        let cases = [
            (abroad(None, None), "no relay"),
            (abroad(Some("n4"), Some(9_000)), "relay n4 last told of it 9 s ago"),
            (DomainPeer { unicast_loss_permille: Some(1_000), ..peer() }, "unreachable"),
            (DomainPeer { unicast_loss_permille: None, round_trip_us: None, ..peer() }, "yet"),
            (DomainPeer { unicast_loss_permille: Some(105), ..peer() }, "10.5 %"),
            (DomainPeer { ring: Some(RingStateKind::Down), ..peer() }, "dead"),
            (DomainPeer { hears: false, ..peer() }, "one way: back"),
            (DomainPeer { is_heard: false, ..peer() }, "one way: there"),
            (DomainPeer { mtu_bytes: Some(1_260), ..peer() }, "packets of 1260 bytes pass, and those of 1428 do not"),
            (DomainPeer { way: Way::Unicast, is_heard: false, hears: false, ..peer() }, "copies"),
            (DomainPeer { clock_offset_ms: Some(-86_400_000), ..peer() }, "behind"),
            (DomainPeer { round_trip_us: Some(90_000), ..peer() }, "90 ms"),
        ];
        for (peer, expected) in cases {
            let found = problem(&peer, Some(1_428)).expect("a problem");
            assert!(found.contains(expected), "{found:?} does not say {expected:?}");
        }
    }
}
