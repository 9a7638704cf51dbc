//! `acpctl domain`: how a node and the others hear each other.

use acp_base::Failure;
use acp_client::home::CLUSTER;
use acp_wire_api::{
    Empty,
    cluster::{Domain, DomainPeer, GetDomain, Way},
};
use serde_json::{Value, json};

use crate::{
    args::DomainVerb,
    output::{Column, Style, to_value},
    session::Session,
};

const DOMAINS: &[Column] = &[
    Column("NAME", "/name", Style::Plain),
    Column("NODES", "/nodes", Style::Plain),
    Column("BY MULTICAST", "/multicast", Style::Plain),
    Column("BY UNICAST", "/unicast", Style::Plain),
    Column("SEEN FROM", "/node", Style::Plain),
    Column("TROUBLE", "/trouble", Style::Plain),
];

const PEERS: &[Column] = &[
    Column("NODE", "/node", Style::Plain),
    Column("RING", "/ring", Style::State),
    Column("SENT BY", "/way", Style::Plain),
    Column("HEARS US", "/hears", Style::Plain),
    Column("HEARD", "/is_heard", Style::Plain),
    Column("RTT MS", "/round_trip_ms", Style::Plain),
    Column("LOSS %", "/loss_percent", Style::Plain),
    Column("MULTICAST LOSS %", "/multicast_loss_percent", Style::Plain),
    Column("CLOCK MS", "/clock_offset_ms", Style::Plain),
    Column("SLOTS", "/slots", Style::Plain),
    Column("WHOLE", "/is_whole", Style::Plain),
    Column("HEARD AGO", "/silent_for_ms", Style::Age),
];

pub(super) async fn run(session: &mut Session, verb: DomainVerb) -> Result<u8, Failure> {
    let domain = session.call::<GetDomain>(CLUSTER, Empty {}).await?;
    match verb {
        DomainVerb::List => session.out.list(&[summary(&domain)], DOMAINS)?,
        DomainVerb::Show if session.out.is_for_people() => {
            let table = session.out.table(&domain.peers.iter().map(row).collect::<Vec<_>>(), PEERS);
            let text = format!("{}\n{table}", heading(&domain));
            session.out.writer().text(&text)?;
        }
        DomainVerb::Show => session.out.object(&to_value(&domain)?)?,
    }
    Ok(crate::DONE)
}

fn summary(domain: &Domain) -> Value {
    let by = |way| domain.peers.iter().filter(|peer| peer.way == way).count();
    json!({
        "name": domain.name,
        "nodes": domain.peers.len() + 1,
        "multicast": by(Way::Multicast),
        "unicast": by(Way::Unicast),
        "node": domain.node,
        "trouble": domain.trouble,
    })
}

/// What concerns the node itself, a fact a line.
fn heading(domain: &Domain) -> String {
    let refused: Vec<String> =
        domain.refused.iter().map(|refused| format!("{} {}", refused.count, refused.reason)).collect();
    let none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let facts = [
        ("Domain", format!("{}, seen from {}", domain.name, domain.node)),
        ("Address", domain.address.clone().unwrap_or_else(|| "none".to_owned())),
        ("Trouble", none(domain.trouble.clone())),
        ("Group key", domain.key.map_or_else(|| "none".to_owned(), |key| key.to_string())),
        ("Own slots", domain.own_slots.to_string()),
        ("Others' slots", format!("{}, {} bytes", domain.heard_slots, domain.heard_bytes)),
        ("Refused", none(refused.join(", "))),
    ];
    facts.map(|(name, fact)| format!("{:<15}{fact}\n", format!("{name}:"))).concat()
}

/// A peer as a row, in the units people read.
pub(super) fn row(peer: &DomainPeer) -> Value {
    let mut row = to_value(peer).unwrap_or_default();
    let percent = |permille: Option<u32>| permille.map(|permille| format!("{}.{}", permille / 10, permille % 10));
    row["loss_percent"] = json!(percent(peer.unicast_loss_permille));
    row["multicast_loss_percent"] = json!(percent(peer.multicast_loss_permille));
    row["round_trip_ms"] = json!(peer.round_trip_us.map(|us| format!("{}.{:02}", us / 1_000, us % 1_000 / 10)));
    row
}
