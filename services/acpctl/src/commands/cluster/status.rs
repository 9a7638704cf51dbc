//! `acpctl cluster status`: this node's place in its cluster, what the control plane says, and how far this node's database is.

use std::{fmt::Write, time::Duration};

use acp_base::{Code, Failure};
use acp_wire_api::{
    Empty,
    agent::{AgentStatus, GetStatus, LinkStatus},
    cluster,
    hub::{self, HubStatus, PlanUpgrade, UpgradePlan},
};
use acp_wire_model::entry::FEATURE_LEVEL;
use serde_json::{Value, json};

use super::{AGENT, HUB};
use crate::{
    output::{ago, now_ms, to_value, until},
    session::Session,
};

/// How long the control plane may take if the caller gives no time: somebody looks at the terminal.
const PATIENCE: Duration = Duration::from_secs(3);
/// The control plane says something every 2 s: whoever has not heard it three times in a row has lost it.
const HEARD_MS_MAX: u64 = 6_000;
/// A certificate counts for 48 h and is renewed at half of it: with a quarter left, renewing has failed for 12 h.
const CERTIFICATE_LEFT_MS: u64 = 12 * 3_600_000;
/// The exit status when not all is well.
const NOT_WELL: u8 = Code::Unavailable.exit_status();

pub(super) async fn run(session: &mut Session) -> Result<u8, Failure> {
    let status = session.call::<GetStatus>(AGENT, Empty {}).await?;
    let hub = match status.cluster {
        Some(_) => Some(ask_hub(session).await),
        None => None,
    };
    let database = ask_database(session).await;
    let upgrade = ask_upgrade(session, &database).await;
    let seen = Seen { agent: &status, hub: hub.as_ref(), database: &database, upgrade: upgrade.as_ref() };
    let problems = problems(seen, now_ms());
    if session.out.is_for_people() {
        let text = render(seen, &problems, now_ms());
        session.out.writer().text(&text)?;
    } else {
        session.out.object(&as_value(seen, &problems)?)?;
    }
    Ok(if problems.is_empty() { crate::DONE } else { NOT_WELL })
}

type Answer = Result<HubStatus, Failure>;
type Database = Result<cluster::Status, Failure>;

/// What was found out; of the hub nothing where there is no cluster.
#[derive(Clone, Copy)]
struct Seen<'a> {
    agent: &'a AgentStatus,
    hub: Option<&'a Answer>,
    database: &'a Database,
    /// Where the cluster is at an earlier feature level than this program knows: whether it could be at a newer one.
    upgrade: Option<&'a UpgradePlan>,
}

async fn ask_database(session: &Session) -> Database {
    let daemon = session.daemon("cluster")?.deadline(session.timeout().unwrap_or(PATIENCE));
    daemon.call::<cluster::GetStatus>(Empty {}).await
}

/// Asked of all members only while there may be something to do. Whoever does not answer is told of elsewhere.
async fn ask_upgrade(session: &Session, database: &Database) -> Option<UpgradePlan> {
    let is_behind = database.as_ref().is_ok_and(|database| database.feature_level < FEATURE_LEVEL);
    if !is_behind {
        return None;
    }
    let hub = session.service(HUB).ok()?.deadline(session.timeout().unwrap_or(PATIENCE * 2));
    hub.call::<PlanUpgrade>(Empty {}).await.ok().filter(|plan| plan.level < plan.to)
}

async fn ask_hub(session: &Session) -> Answer {
    let hub = session.service(HUB)?.deadline(session.timeout().unwrap_or(PATIENCE));
    hub.call::<hub::GetStatus>(Empty {}).await
}

/// What somebody should look at; the first word is the node's, then the hub's, then the database's.
fn problems(seen: Seen<'_>, now_ms: u64) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(hub) = seen.hub {
        of_node(seen.agent, now_ms, &mut problems);
        of_hub(hub, &mut problems);
    }
    match seen.database {
        Err(failure) => problems.push(format!("the cluster database does not answer: {failure}")),
        Ok(status) => of_database(status, &mut problems),
    }
    problems
}

fn of_node(status: &AgentStatus, now_ms: u64, problems: &mut Vec<String>) {
    match status.hub_heard_ms {
        Some(ms) if ms <= HEARD_MS_MAX => {}
        heard => problems.push(format!("the control plane is not heard: {}", last_word(heard))),
    }
    if let Some(at_ms) = status.certificate_until_ms
        && at_ms.saturating_sub(now_ms) < CERTIFICATE_LEFT_MS
    {
        problems.push(format!("this node's certificate is not renewed: it ends {}", until(at_ms, now_ms)));
    }
}

fn of_hub(hub: &Answer, problems: &mut Vec<String>) {
    match hub {
        Err(failure) => problems.push(format!("the control plane does not answer: {failure}")),
        Ok(hub) => {
            if !hub.degraded.is_empty() {
                problems.push(format!("nothing can be changed: {}", hub.degraded));
            }
            if hub.online < hub.nodes {
                let offline = hub.nodes - hub.online;
                problems.push(format!("{offline} of {} nodes are offline; see: acpctl node list", hub.nodes));
            }
        }
    }
}

fn of_database(status: &cluster::Status, problems: &mut Vec<String>) {
    if !status.stalled.is_empty() {
        problems.push(format!("this node's database does not go on: {}", status.stalled));
    }
    if !status.degraded.is_empty() {
        let age = status.heard_ms.map(|ms| format!("; last heard {}", ago(ms))).unwrap_or_default();
        problems.push(format!("this node's database is degraded: {}{age}", status.degraded));
    }
}

fn last_word(heard_ms: Option<u64>) -> String {
    heard_ms.map_or_else(|| "not since the agent started".to_owned(), |ms| format!("last {}", ago(ms)))
}

/// How this node stands to its cluster, in one line.
pub(in crate::commands) fn standing(status: &AgentStatus) -> String {
    match &status.cluster {
        None => "none; acpctl cluster init makes one, acpctl node join enters one".to_owned(),
        Some(cluster) => {
            let heard = status.hub_heard_ms.map_or_else(|| last_word(None), ago);
            format!("{} ({}), directory {}, hub heard {heard}", cluster.name, cluster.uid, status.revision)
        }
    }
}

fn render(seen: Seen<'_>, problems: &[String], now_ms: u64) -> String {
    let status = seen.agent;
    let mut out = String::new();
    let mut line = |label: &str, text: String| writeln!(out, "{label:<13}{text}").expect("a string takes everything");
    line("Cluster:", standing(status));
    let address = status.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    line("This node:", format!("{} ({}){address}", status.name, status.node));
    if let Some(Ok(hub)) = seen.hub {
        let leader = hub.leader.as_ref().map_or_else(|| "none is known".to_owned(), ToString::to_string);
        line("Leader:", format!("{leader}, of {} voters; see: acpctl hub status", hub.voters));
        line("Nodes:", format!("{}, {} online; directory {}", hub.nodes, hub.online, hub.revision));
    }
    if let Ok(database) = seen.database {
        line(
            "Log:",
            format!("epoch {}, index {}, feature level {}", database.epoch, database.index, database.feature_level),
        );
        line("Source:", source(database));
    }
    if let Some(plan) = seen.upgrade {
        line("Upgrade:", upgrade(plan));
    }
    if let Some(at_ms) = status.certificate_until_ms {
        line("Certificate:", format!("ends {}", until(at_ms, now_ms)));
    }
    if seen.hub.is_some() {
        line("Links:", links(&status.links));
    }
    if !problems.is_empty() {
        out.push_str("\nProblems:\n");
        problems.iter().for_each(|problem| out.push_str(&format!("  {problem}\n")));
    }
    out
}

/// Whether the cluster can be raised to the newest feature level, and what to type.
fn upgrade(plan: &UpgradePlan) -> String {
    match plan.clashes.len() {
        0 => format!("the programs of all nodes know feature level {}; raise it: acpctl cluster upgrade", plan.to),
        _ => format!("feature level {} is not possible yet; see: acpctl cluster upgrade --plan", plan.to),
    }
}

/// Whose log this node's database follows.
fn source(database: &cluster::Status) -> String {
    let whose = if database.source.is_empty() { "nobody's log is followed now" } else { &database.source };
    let heard = database.heard_ms.map(|ms| format!(", heard {}", ago(ms))).unwrap_or_default();
    format!("{whose}{heard}")
}

fn links(links: &[LinkStatus]) -> String {
    if links.is_empty() {
        return "none".to_owned();
    }
    let texts = links.iter().map(|link| format!("{} {}", link.name, link.class));
    texts.collect::<Vec<_>>().join(", ")
}

fn as_value(seen: Seen<'_>, problems: &[String]) -> Result<Value, Failure> {
    Ok(json!({
        "ok": problems.is_empty(),
        "problems": problems,
        "cluster": to_value(&seen.agent.cluster)?,
        "agent": to_value(seen.agent)?,
        "hub": seen.hub.and_then(|hub| hub.as_ref().ok()).map(to_value).transpose()?,
        "database": seen.database.as_ref().ok().map(to_value).transpose()?,
        "upgrade": seen.upgrade.map(to_value).transpose()?,
    }))
}

#[cfg(test)]
mod tests {
    use acp_base::Uid;
    use acp_wire_api::hub::Cluster;

    use super::*;

    const NOW: u64 = 1_000_000_000_000;

    fn status(heard_ms: Option<u64>, certificate_ms: u64) -> AgentStatus {
        AgentStatus {
            node: Uid::from_u128(1),
            name: "n1".parse().expect("a name"),
            cluster: Some(Cluster { uid: Uid::from_u128(2), name: "lab".parse().expect("a name") }),
            address: Some("10.0.0.1:9932".into()),
            certificate_until_ms: Some(NOW + certificate_ms),
            revision: 7,
            hub_heard_ms: heard_ms,
            root_key_path: String::new(),
            links: Vec::new(),
        }
    }

    fn hub(nodes: u64, online: u64) -> Answer {
        let leader = Some("n1".parse().expect("a name"));
        Ok(HubStatus { cluster: None, revision: 7, nodes, online, degraded: String::new(), leader, voters: 3 })
    }

    fn database() -> cluster::Status {
        cluster::Status {
            cluster: Uid::from_u128(2),
            node_uid: Uid::from_u128(1),
            node: "n1".parse().expect("a name"),
            epoch: "1-0a".into(),
            index: 42,
            hash: String::new(),
            objects: 3,
            slots: 4,
            watches: 5,
            store_bytes: 6,
            stalled: String::new(),
            source: "hub@n2".into(),
            heard_ms: Some(300),
            degraded: String::new(),
            feature_level: 1,
            anchor: 1,
        }
    }

    fn found(agent: &AgentStatus, hub: Option<&Answer>) -> Vec<String> {
        problems(Seen { agent, hub, database: &Ok(database()), upgrade: None }, NOW)
    }

    #[test]
    fn what_is_wrong_is_said_with_its_age() {
        let well = status(Some(1_900), 40 * 3_600_000);
        assert_eq!(found(&well, Some(&hub(3, 3))), Vec::<String>::new());
        assert_eq!(found(&well, Some(&hub(3, 1))), ["2 of 3 nodes are offline; see: acpctl node list"]);
        let lost = status(Some(65_000), 3_600_000);
        assert_eq!(
            found(&lost, Some(&Err(Failure::unavailable("no way to it")))),
            [
                "the control plane is not heard: last 1m5s ago",
                "this node's certificate is not renewed: it ends in 1h",
                "the control plane does not answer: no way to it"
            ]
        );
        let never = status(None, 40 * 3_600_000);
        assert_eq!(found(&never, Some(&hub(1, 1))), ["the control plane is not heard: not since the agent started"]);
    }

    #[test]
    fn degraded_is_said_by_the_hub_and_by_the_database() {
        let well = status(Some(1_900), 40 * 3_600_000);
        let hub = hub(3, 3).map(|hub| HubStatus { degraded: "1 of 3 voters answers".into(), ..hub });
        let late = cluster::Status {
            degraded: "no leader".into(),
            heard_ms: Some(12_000),
            stalled: "kind x".into(),
            ..database()
        };
        assert_eq!(
            problems(Seen { agent: &well, hub: Some(&hub), database: &Ok(late), upgrade: None }, NOW),
            [
                "nothing can be changed: 1 of 3 voters answers",
                "this node's database does not go on: kind x",
                "this node's database is degraded: no leader; last heard 12s ago"
            ]
        );
        let silent = Err(Failure::unavailable("no socket"));
        let said = problems(Seen { agent: &well, hub: None, database: &silent, upgrade: None }, NOW);
        assert_eq!(said, ["the cluster database does not answer: no socket"]);
    }

    #[test]
    fn a_node_on_its_own_has_no_problem() {
        let alone = AgentStatus { cluster: None, hub_heard_ms: None, certificate_until_ms: None, ..status(None, 0) };
        assert_eq!(found(&alone, None), Vec::<String>::new());
        let text = render(Seen { agent: &alone, hub: None, database: &Ok(database()), upgrade: None }, &[], NOW);
        assert!(text.starts_with("Cluster:     none; acpctl cluster init"), "{text}");
        assert!(
            text.contains("Log:         epoch 1-0a, index 42") && text.contains("Source:      hub@n2, heard 0.3 s ago"),
            "{text}"
        );
        assert!(!text.contains("Upgrade:"), "{text}");
    }

    #[test]
    fn a_newer_level_is_told_with_what_to_type() {
        let alone = AgentStatus { cluster: None, ..status(None, 0) };
        let told = |clashes: &[&str]| {
            let clashes = clashes.iter().map(|clash| (*clash).to_owned()).collect();
            let plan = UpgradePlan { level: 1, to: 2, clashes, effects: Vec::new() };
            render(Seen { agent: &alone, hub: None, database: &Ok(database()), upgrade: Some(&plan) }, &[], NOW)
        };
        let text = told(&[]);
        let wanted = "Upgrade:     the programs of all nodes know feature level 2; raise it: acpctl cluster upgrade\n";
        assert!(text.contains(wanted), "{text}");
        let text = told(&["node n2 runs hub of level 1"]);
        let wanted = "Upgrade:     feature level 2 is not possible yet; see: acpctl cluster upgrade --plan\n";
        assert!(text.contains(wanted), "{text}");
    }
}
