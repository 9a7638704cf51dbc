//! `acpctl cluster status`: this node's place in its cluster, and what the control plane says.

use std::{fmt::Write, time::Duration};

use acp_base::{Code, Failure};
use acp_wire_api::{
    Empty,
    agent::{AgentStatus, GetStatus, LinkStatus},
    hub::{self, HubStatus},
};
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
    let problems = problems(&status, hub.as_ref(), now_ms());
    if session.out.is_for_people() {
        let text = render(&status, hub.as_ref(), &problems, now_ms());
        session.out.writer().text(&text)?;
    } else {
        session.out.object(&as_value(&status, hub.as_ref(), &problems)?)?;
    }
    Ok(if problems.is_empty() { crate::DONE } else { NOT_WELL })
}

type Answer = Result<HubStatus, Failure>;

async fn ask_hub(session: &Session) -> Answer {
    let hub = session.service(HUB)?.deadline(session.timeout().unwrap_or(PATIENCE));
    hub.call::<hub::GetStatus>(Empty {}).await
}

/// What somebody should look at; the first word is the node's, then the hub's.
fn problems(status: &AgentStatus, hub: Option<&Answer>, now_ms: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let Some(hub) = hub else { return problems };
    match status.hub_heard_ms {
        Some(ms) if ms <= HEARD_MS_MAX => {}
        heard => problems.push(format!("the control plane is not heard: {}", last_word(heard))),
    }
    if let Some(at_ms) = status.certificate_until_ms
        && at_ms.saturating_sub(now_ms) < CERTIFICATE_LEFT_MS
    {
        problems.push(format!("this node's certificate is not renewed: it ends {}", until(at_ms, now_ms)));
    }
    match hub {
        Err(failure) => problems.push(format!("the control plane does not answer: {failure}")),
        Ok(hub) if hub.online < hub.nodes => {
            problems.push(format!(
                "{} of {} nodes are offline; see: acpctl node list",
                hub.nodes - hub.online,
                hub.nodes
            ));
        }
        Ok(_) => {}
    }
    problems
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

fn render(status: &AgentStatus, hub: Option<&Answer>, problems: &[String], now_ms: u64) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: String| writeln!(out, "{label:<13}{text}").expect("a string takes everything");
    line("Cluster:", standing(status));
    let address = status.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    line("This node:", format!("{} ({}){address}", status.name, status.node));
    if let Some(Ok(hub)) = hub {
        line("Nodes:", format!("{}, {} online; directory {}", hub.nodes, hub.online, hub.revision));
    }
    if let Some(at_ms) = status.certificate_until_ms {
        line("Certificate:", format!("ends {}", until(at_ms, now_ms)));
    }
    if hub.is_some() {
        line("Links:", links(&status.links));
    }
    if !problems.is_empty() {
        out.push_str("\nProblems:\n");
        problems.iter().for_each(|problem| out.push_str(&format!("  {problem}\n")));
    }
    out
}

fn links(links: &[LinkStatus]) -> String {
    if links.is_empty() {
        return "none".to_owned();
    }
    let texts = links.iter().map(|link| format!("{} {}", link.name, link.class));
    texts.collect::<Vec<_>>().join(", ")
}

fn as_value(status: &AgentStatus, hub: Option<&Answer>, problems: &[String]) -> Result<Value, Failure> {
    Ok(json!({
        "ok": problems.is_empty(),
        "problems": problems,
        "cluster": to_value(&status.cluster)?,
        "agent": to_value(status)?,
        "hub": hub.and_then(|hub| hub.as_ref().ok()).map(to_value).transpose()?,
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
        Ok(HubStatus { cluster: None, revision: 7, nodes, online })
    }

    #[test]
    fn what_is_wrong_is_said_with_its_age() {
        let well = status(Some(1_900), 40 * 3_600_000);
        assert_eq!(problems(&well, Some(&hub(3, 3)), NOW), Vec::<String>::new());
        assert_eq!(problems(&well, Some(&hub(3, 1)), NOW), ["2 of 3 nodes are offline; see: acpctl node list"]);
        let lost = status(Some(65_000), 3_600_000);
        assert_eq!(
            problems(&lost, Some(&Err(Failure::unavailable("no way to it"))), NOW),
            [
                "the control plane is not heard: last 1m5s ago",
                "this node's certificate is not renewed: it ends in 1h",
                "the control plane does not answer: no way to it"
            ]
        );
        let never = status(None, 40 * 3_600_000);
        assert_eq!(
            problems(&never, Some(&hub(1, 1)), NOW),
            ["the control plane is not heard: not since the agent started"]
        );
    }

    #[test]
    fn a_node_on_its_own_has_no_problem() {
        let alone = AgentStatus { cluster: None, hub_heard_ms: None, certificate_until_ms: None, ..status(None, 0) };
        assert_eq!(problems(&alone, None, NOW), Vec::<String>::new());
        assert!(render(&alone, None, &[], NOW).starts_with("Cluster:     none; acpctl cluster init"));
    }
}
