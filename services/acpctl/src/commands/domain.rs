//! `acpctl domain`: how a node and the others hear each other.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::{Failure, Name};
use acp_client::home::CLUSTER;
use acp_wire_api::{
    Empty,
    cluster::{Domain, DomainLink, DomainPeer, GetDomain, Way},
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
    Column("RELAYS", "/relays", Style::Plain),
    Column("BY RELAY", "/via", Style::Plain),
    Column("SEEN FROM", "/node", Style::Plain),
    Column("TROUBLE", "/trouble", Style::Plain),
];

const PEERS: &[Column] = &[
    Column("NODE", "/node", Style::Plain),
    Column("RING", "/ring", Style::State),
    Column("DOMAIN", "/domain", Style::Plain),
    Column("SENT BY", "/way", Style::Plain),
    Column("VIA", "/via", Style::Plain),
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
    if let DomainVerb::Assign { node, domain } = verb {
        return assign(session, node, domain).await;
    }
    let domain = session.call::<GetDomain>(CLUSTER, Empty {}).await?;
    match verb {
        DomainVerb::List => session.out.list(&summaries(&domain), DOMAINS)?,
        DomainVerb::Show if session.out.is_for_people() => {
            let table = session.out.table(&domain.peers.iter().map(row).collect::<Vec<_>>(), PEERS);
            let text = format!("{}\n{table}", heading(&domain));
            session.out.writer().text(&text)?;
        }
        DomainVerb::Show | DomainVerb::Assign { .. } => session.out.object(&to_value(&domain)?)?,
    }
    Ok(crate::DONE)
}

async fn assign(session: &mut Session, node: Name, domain: Name) -> Result<u8, Failure> {
    session.acp().nodes().assign_domain(node.clone(), domain.clone()).await?;
    let text = format!(
        "node {node} is of domain {domain} now: it hears the nodes of that domain itself, and the others by relays; acpctl domain list"
    );
    session.out.done(&text, &json!({ "name": node, "domain": domain }))?;
    Ok(crate::DONE)
}

/// The node's own domain, and then the others.
fn summaries(domain: &Domain) -> Vec<Value> {
    let by = |way| domain.peers.iter().filter(|peer| peer.way == way).count();
    let own = json!({
        "name": domain.name,
        "nodes": domain.peers.len() - by(Way::Relay) + 1,
        "multicast": by(Way::Multicast),
        "unicast": by(Way::Unicast),
        "relays": names(&domain.relays),
        "node": domain.node,
        "trouble": domain.trouble,
    });
    let mut others: BTreeMap<&str, Vec<&DomainPeer>> = BTreeMap::new();
    for peer in &domain.peers {
        if let Some(other) = &peer.domain {
            others.entry(other).or_default().push(peer);
        }
    }
    let others = others.into_iter().map(|(name, peers)| {
        let via: BTreeSet<&Name> = peers.iter().filter_map(|peer| peer.via.as_ref()).collect();
        let trouble = if via.is_empty() { "no relay has told of it yet" } else { "" };
        json!({
            "name": name,
            "nodes": peers.len(),
            "via": names(via),
            "node": domain.node,
            "trouble": trouble,
        })
    });
    [own].into_iter().chain(others).collect()
}

fn names<'a>(names: impl IntoIterator<Item = &'a Name>) -> String {
    names.into_iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
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
        ("Relays", none(names(&domain.relays))),
        ("Hears", none(domain.links.iter().map(link).collect::<Vec<_>>().join(", "))),
        ("Own slots", domain.own_slots.to_string()),
        ("Others' slots", format!("{}, {} bytes", domain.heard_slots, domain.heard_bytes)),
        ("Refused", none(refused.join(", "))),
    ];
    facts.map(|(name, fact)| format!("{:<15}{fact}\n", format!("{name}:"))).concat()
}

/// A stream by which the node hears another domain.
fn link(link: &DomainLink) -> String {
    match &link.node {
        Some(node) => format!("{} from {node}", link.domain),
        None => format!("{} from nobody for {} s", link.domain, link.for_ms / 1_000),
    }
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
