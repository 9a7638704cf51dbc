//! `acpctl status`: one look at the node. It asks everybody at once and says plainly who does not answer.

use std::{collections::BTreeMap, fmt::Write, future::Future, time::Duration};

use acp_base::{ByteSize, Code, Failure, Name};
use acp_client::ServiceClient;
use acp_wire_api::{
    Empty, Method,
    agent::{self, AgentStatus},
    cluster::{GetStatus, Status},
    daemon::{GetHealth, Health},
    framework::{ListUnits, Unit},
    hypervisor::{GetNode, GetNodeReply},
};
use acp_wire_model::{
    Kind, Object,
    unit::{UnitState, WITHHELD},
};
use futures_util::{FutureExt as _, future::join_all};
use serde_json::{Value, json};

use super::{
    cluster::{AGENT, status::standing},
    service,
};
use crate::{
    output::{Column, Style, to_value},
    session::Session,
    view,
};

/// The daemons of a node, in start order.
const DAEMONS: [&str; 8] = ["framework", "hub", "cluster", "storage", "network", "hypervisor", "agent", "api"];

/// How long one daemon may take if the caller gives no time: somebody looks at the terminal.
const PATIENCE: Duration = Duration::from_secs(3);

/// The exit status when not all is well.
const NOT_WELL: u8 = Code::Unavailable.exit_status();

const COLUMNS: &[Column] = &[
    Column("SERVICE", "/name", Style::Plain),
    Column("STATE", "/status/state", Style::State),
    Column("HEALTH", "/health", Style::State),
    Column("PID", "/status/pid", Style::Plain),
    Column("RESTARTS", "/status/restarts", Style::Plain),
    Column("MEMORY", "/stats/memory_bytes", Style::Bytes),
    Column("SINCE", "/status/since_ms", Style::Since),
];

/// What was found out.
#[derive(Debug)]
struct Node {
    cluster: Option<Status>,
    agent: Option<AgentStatus>,
    host: Option<GetNodeReply>,
    services: Vec<Value>,
    counts: BTreeMap<&'static str, BTreeMap<String, u64>>,
    problems: Vec<String>,
}

pub(super) async fn run(session: &mut Session) -> Result<u8, Failure> {
    let node = ask(session).await?;
    if session.out.is_for_people() {
        let table = session.out.table(&node.services, COLUMNS);
        let text = render(&node, &table);
        session.out.writer().text(&text)?;
    } else {
        session.out.object(&as_value(&node)?)?;
    }
    Ok(if node.problems.is_empty() { crate::DONE } else { NOT_WELL })
}

async fn ask(session: &Session) -> Result<Node, Failure> {
    let units =
        async { call::<ListUnits>(session, service::FRAMEWORK).await.map_or_else(|_| Vec::new(), |all| all.units) };
    let units = units.boxed_local().shared();
    let healths = DAEMONS.map(|noun| unless_withheld(units.clone(), noun, call::<GetHealth>(session, noun)));
    let (healths, units, cluster, agent, host, counts) = tokio::join!(
        join_all(healths),
        units.clone(),
        call::<GetStatus>(session, "cluster"),
        call::<agent::GetStatus>(session, AGENT),
        unless_withheld(units.clone(), "hypervisor", call::<GetNode>(session, "hypervisor")),
        count(session),
    );
    if let Some(refused) = refused_by_all(&healths) {
        return Err(refused);
    }
    let mut problems = Vec::new();
    let mut services = Vec::new();
    for (noun, health) in DAEMONS.into_iter().zip(healths) {
        services.push(daemon(noun, &units, health, &mut problems)?);
    }
    let others = units.iter().filter(|unit| !DAEMONS.contains(&unit.name.as_str()));
    problems.extend(others.filter_map(unit_problem));
    if let Some(degraded) = cluster.as_ref().ok().map(|status| &status.degraded).filter(|text| !text.is_empty()) {
        problems.push(format!("the cluster database is degraded: {degraded}; see: acpctl cluster status"));
    }
    if let Some(stalled) = cluster.as_ref().ok().map(|status| &status.stalled).filter(|stalled| !stalled.is_empty()) {
        problems.push(format!("the cluster database does not go on: {stalled}"));
    }
    // Who did not answer here did not answer for its health either, which is a problem already.
    let own = cluster.as_ref().ok().map(|status| &status.node);
    let counts = tally(&counts.unwrap_or_default(), own);
    problems.extend(object_problems(&counts));
    Ok(Node { cluster: cluster.ok(), agent: agent.ok(), host: host.ok(), services, counts, problems })
}

/// Why this caller may ask none of them, or that there is no such node: they are not silent then.
fn refused_by_all(healths: &[Result<Health, Failure>]) -> Option<Failure> {
    let refusal = |health: &Result<Health, Failure>| {
        health.as_ref().err().filter(|why| matches!(why.code, Code::PermissionDenied | Code::NotFound)).cloned()
    };
    healths.iter().map(refusal).reduce(|first, next| next.and(first))?
}

/// What a daemon answers, unless the framework says first that the node's roles withhold it: then nobody answers.
async fn unless_withheld<T>(
    units: impl Future<Output = Vec<Unit>>,
    noun: &str,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let is_withheld = async {
        if !units.await.iter().any(|unit| unit.name == noun && unit.meta.is_withheld()) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        answer = call => answer,
        () = is_withheld => Err(Failure::unavailable(WITHHELD)),
    }
}

async fn call<M: Method<Request = Empty>>(session: &Session, noun: &str) -> Result<M::Reply, Failure> {
    patient(session, noun)?.call::<M>(Empty {}).await
}

fn patient(session: &Session, noun: &str) -> Result<ServiceClient, Failure> {
    Ok(session.daemon(noun)?.deadline(session.timeout().unwrap_or(PATIENCE)))
}

type Objects = Vec<(&'static str, Vec<Object>)>;

/// The objects that are counted.
async fn count(session: &Session) -> Result<Objects, Failure> {
    let limit = session.timeout().unwrap_or(PATIENCE);
    let late = || Failure::new(Code::DeadlineExceeded, "cluster did not list its objects in time");
    let mut lists = Vec::new();
    for (plural, kind) in [("pools", Kind::Pool), ("networks", Kind::Network), ("systems", Kind::System)] {
        let objects =
            tokio::time::timeout(limit, session.list(kind, Vec::new())).await.map_err(|_elapsed| late())??;
        lists.push((plural, objects));
    }
    Ok(lists)
}

/// How many of the node's own objects are in which state: those of other nodes are the whole cluster's, and known there.
fn tally(lists: &Objects, own: Option<&Name>) -> BTreeMap<&'static str, BTreeMap<String, u64>> {
    let is_elsewhere = |object: &&Object| match (object.spec["node"].as_str(), own) {
        (Some(node), Some(own)) => node != own.as_str(),
        _ => false,
    };
    let mut counts = BTreeMap::new();
    for (plural, objects) in lists {
        let states: &mut BTreeMap<String, u64> = counts.entry(*plural).or_default();
        for object in objects.iter().filter(|object| !is_elsewhere(object)) {
            let state = view::of(object)["status"]["state"].as_str().unwrap_or("unknown").to_owned();
            *states.entry(state).or_default() += 1;
        }
    }
    counts
}

/// A daemon's row: its unit, if the framework says, and its own word on its health.
fn daemon(
    noun: &str,
    units: &[Unit],
    health: Result<Health, Failure>,
    problems: &mut Vec<String>,
) -> Result<Value, Failure> {
    let unit = units.iter().find(|unit| unit.name == noun);
    // The framework is no unit of its own: its row is what it says of itself.
    let own = health.as_ref().ok().map(|health| json!({ "state": "ready", "pid": health.pid }));
    let (word, note) = match health {
        Err(_silent) if unit.is_some_and(|unit| unit.meta.is_withheld()) => ("withheld", WITHHELD.to_owned()),
        Ok(Health { ready: true, reason, .. }) if reason.is_empty() => ("ready", String::new()),
        Ok(Health { ready: true, reason, .. }) => ("degraded", reason),
        Ok(Health { reason, .. }) => ("starting", reason),
        Err(failure) => ("silent", failure.message),
    };
    match word {
        "ready" | "withheld" => {}
        "silent" => problems.push(format!("{noun} does not answer: {note}")),
        _ if note.is_empty() => problems.push(format!("{noun} is {word}")),
        _ => problems.push(format!("{noun} is {word}: {note}")),
    }
    let mut row = match unit {
        Some(unit) => service::view(unit)?,
        None => json!({ "name": noun, "status": own, "stats": null }),
    };
    row["health"] = word.into();
    row["note"] = note.into();
    Ok(row)
}

fn unit_problem(unit: &Unit) -> Option<String> {
    let word = match unit.meta.state {
        UnitState::Failed => "has failed",
        UnitState::Backoff => "keeps ending",
        UnitState::Stopped | UnitState::Waiting | UnitState::Starting | UnitState::Ready | UnitState::Stopping => {
            return None;
        }
    };
    let reason = if unit.meta.reason.is_empty() { String::new() } else { format!(": {}", unit.meta.reason) };
    Some(format!("unit {} {word}{reason}", unit.name))
}

fn object_problems(counts: &BTreeMap<&'static str, BTreeMap<String, u64>>) -> Vec<String> {
    let bad = |state: &str| matches!(state, "failed" | "degraded");
    let states =
        counts.iter().flat_map(|(plural, states)| states.iter().map(move |(state, count)| (plural, state, count)));
    let found = states.filter(|(_, state, _)| bad(state));
    found
        .map(|(plural, state, count)| {
            format!("{count} of the {plural} {state}; see: acpctl {} list", &plural[..plural.len() - 1])
        })
        .collect()
}

fn render(node: &Node, services: &str) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: String| writeln!(out, "{label:<13}{text}").expect("a string takes everything");
    match &node.cluster {
        Some(status) => {
            line("Node:", format!("{} ({})", status.node, status.node_uid));
            line(
                "Database:",
                format!(
                    "epoch {}, index {}, {} objects, {} slots",
                    status.epoch, status.index, status.objects, status.slots
                ),
            );
        }
        None => line("Database:", "not known: cluster does not answer".to_owned()),
    }
    line("Cluster:", node.agent.as_ref().map_or_else(|| "not known: agent does not answer".to_owned(), standing));
    match &node.host {
        Some(GetNodeReply { meta, stats }) => {
            line("Accelerator:", accelerator(&meta.accelerator, &meta.accelerator_reason));
            let memory = ByteSize(meta.memory_bytes);
            let available = ByteSize(stats.memory_available_bytes);
            line(
                "Host:",
                format!("{} cpus, {memory} memory, {available} available, load {:.2}", meta.cpus, stats.load_1),
            );
            line("Software:", format!("Linux {}, QEMU {}, cgroups {}", meta.kernel, meta.qemu, meta.cgroups));
        }
        None if node.services.iter().any(|row| row["name"] == "hypervisor" && row["health"] == "withheld") => {
            line("Accelerator:", format!("not known: hypervisor does not run, {WITHHELD}"));
        }
        None => line("Accelerator:", "not known: hypervisor does not answer".to_owned()),
    }
    for (label, plural) in [("Pools:", "pools"), ("Networks:", "networks"), ("Systems:", "systems")] {
        line(label, summary(node.counts.get(plural)));
    }
    out.push('\n');
    out.push_str(services);
    if !node.problems.is_empty() {
        out.push_str("\nProblems:\n");
        node.problems.iter().for_each(|problem| out.push_str(&format!("  {problem}\n")));
    }
    out
}

fn accelerator(name: &str, reason: &str) -> String {
    match (name, reason) {
        ("", "") => "being proved".to_owned(),
        ("", reason) => format!("being proved: {reason}"),
        (name, "") => name.to_owned(),
        (name, reason) => format!("{name}: {reason}"),
    }
}

fn summary(states: Option<&BTreeMap<String, u64>>) -> String {
    let Some(states) = states else { return "not known".to_owned() };
    let total: u64 = states.values().sum();
    if total == 0 {
        return "none".to_owned();
    }
    let parts: Vec<_> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!("{total} ({})", parts.join(", "))
}

fn as_value(node: &Node) -> Result<Value, Failure> {
    Ok(json!({
        "ok": node.problems.is_empty(),
        "problems": node.problems,
        "cluster": to_value(&node.cluster)?,
        "agent": to_value(&node.agent)?,
        "host": to_value(&node.host)?,
        "services": node.services,
        "pools": node.counts.get("pools"),
        "networks": node.counts.get("networks"),
        "systems": node.counts.get("systems"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(ready: bool, reason: &str) -> Health {
        Health {
            service: "storage".into(),
            version: String::new(),
            node: "n1".into(),
            pid: 1,
            uptime_ms: 0,
            ready,
            reason: reason.into(),
            connections: 0,
            calls: 0,
            feature_level: 1,
        }
    }

    #[test]
    fn a_daemon_that_is_not_well_is_a_problem_with_its_reason() {
        let problem = |answer: Result<Health, Failure>| {
            let mut problems = Vec::new();
            daemon("storage", &[], answer, &mut problems).expect("a row");
            problems
        };
        assert_eq!(problem(Ok(health(true, ""))), Vec::<String>::new());
        assert_eq!(problem(Ok(health(true, "pool x is red"))), ["storage is degraded: pool x is red"]);
        assert_eq!(problem(Ok(health(false, ""))), ["storage is starting"]);
        assert_eq!(problem(Err(Failure::unavailable("no socket"))), ["storage does not answer: no socket"]);
    }

    #[test]
    fn a_daemon_that_roles_withhold_is_no_problem_and_one_that_was_stopped_is() {
        let stopped = |reason: &str| Unit {
            name: "storage".into(),
            uid: acp_base::Uid::from_u128(1),
            meta: acp_wire_model::unit::UnitMeta {
                state: UnitState::Stopped,
                reason: reason.to_owned(),
                template: "storage".into(),
                pid: None,
                uid: 0,
                restarts: 0,
                exit: None,
                since_ms: 0,
            },
            stats: acp_wire_model::unit::UnitStats::default(),
        };
        let look = |reason: &str| {
            let mut problems = Vec::new();
            let silent = Err(Failure::unavailable("no socket"));
            let row = daemon("storage", &[stopped(reason)], silent, &mut problems).expect("a row");
            (row["health"].clone(), problems)
        };
        assert_eq!(look(WITHHELD), (json!("withheld"), Vec::new()));
        assert_eq!(look(""), (json!("silent"), vec!["storage does not answer: no socket".to_owned()]));
    }

    #[test]
    fn objects_are_counted_by_state() {
        let states = BTreeMap::from([("running".to_owned(), 2), ("stopped".to_owned(), 1)]);
        assert_eq!(summary(Some(&states)), "3 (2 running, 1 stopped)");
        assert_eq!(summary(Some(&BTreeMap::new())), "none");
        assert_eq!(summary(None), "not known");
        let counts = BTreeMap::from([("pools", BTreeMap::from([("failed".to_owned(), 1), ("ready".to_owned(), 1)]))]);
        assert_eq!(object_problems(&counts), ["1 of the pools failed; see: acpctl pool list"]);
    }
}
