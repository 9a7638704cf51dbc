//! What the control plane concludes about nodes that fall silent: how fast, why, and that it takes it back.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::five::{Five, LIMIT, NODES, groups, others};
use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] = &[Case {
    name: "quorum::verdicts_a_silent_node_is_down_within_seconds_and_online_again_when_it_is_heard",
    run: silence,
}];

/// From silence to the verdict, as the median. The promise is 3 s, on a machine to itself.
const DOWN_MEDIAN_MAX: Duration = Duration::from_millis(3_000 + 2_000);

/// From the end of the silence to the verdict that says so. The promise is 5 s for rings to be whole again.
const ONLINE_MAX: Duration = Duration::from_secs(5 + 10);

fn silence(five: &Five) -> Result<()> {
    let leader = five.leader()?;
    for node in NODES {
        until(five, leader, node, "online", LIMIT)?;
    }
    let begun = five.call(leader, "cluster", "acp.cluster.GetStatus", json!({}))?["index"].as_u64().unwrap_or(1);
    let mut took = Vec::new();
    let cut: Vec<usize> = others(&[leader]).into_iter().take(3).collect();
    for node in cut.iter().copied() {
        five.cut(&groups(&[&[node], &others(&[node])]))?;
        let since = Instant::now();
        let judged = until(five, leader, node, "down", LIMIT)?;
        took.push(since.elapsed());
        let why = judged["evidence"].as_str().unwrap_or_default().to_owned();
        ensure!(why.contains("down say n") && why.ends_with("; confirmation failed"), "n{node} is down for {why:?}");
        let shown = five.json(leader, &["node", "show", &format!("n{node}")])?;
        let status = &shown["status"];
        ensure!(status["state"] == "down" && status["reason"].to_string().contains("down say n"), "{status}");
        for other in others(&[node, leader]) {
            let judged = verdict(five, leader, other)?;
            ensure!(judged["standing"] == "online", "n{other}, which was heard, is {judged}");
        }
        five.heal()?;
        until(five, leader, node, "online", ONLINE_MAX)?;
    }
    took.sort();
    ensure!(five.leader()? == leader, "somebody else leads");
    told(five, leader, begun, &cut)?;
    ensure!(took[took.len() / 2] <= DOWN_MEDIAN_MAX, "the median of {took:?}");
    Ok(())
}

/// Each change is an event of the log, once and with why; another leader adds none, and any node tells them.
fn told(five: &Five, leader: usize, begun: u64, cut: &[usize]) -> Result<()> {
    // One that was not away: it holds everything, and its term is the leader's.
    let other = others(&[&[leader], cut].concat())[0];
    let from = (begun + 1).to_string();
    let events = |at: usize| -> Result<Vec<String>> {
        let rows = five.json(at, &["event", "list", "--from", &from, "--limit", "1000"])?;
        let is_verdict = |row: &&Value| row["action"]["type"] == "verdict" && row["refused"].is_null();
        let what = |row: &Value| row["what"].as_str().unwrap_or_default().to_owned();
        Ok(rows.as_array().into_iter().flatten().filter(is_verdict).map(what).collect())
    };
    let whole = |events: &[String]| {
        let of = |node: usize| events.iter().filter(move |event| event.starts_with(&format!("node n{node} is ")));
        cut.iter()
            .all(|node| of(*node).next_back().is_some_and(|last| last.starts_with(&format!("node n{node} is online"))))
    };
    let told = wait_for("the events", LIMIT, || {
        let events = events(leader).map_err(|error| format!("{error:#}"))?;
        if whole(&events) { Ok(events) } else { Err(format!("{events:#?}")) }
    })?;
    for node in cut {
        let of: Vec<&String> = told.iter().filter(|event| event.starts_with(&format!("node n{node} is "))).collect();
        let words: Vec<&str> = of.iter().filter_map(|event| event.split([' ', ':', ',']).nth(3)).collect();
        ensure!(words.windows(2).all(|pair| pair[0] != pair[1]), "{of:#?}");
        let down = of.iter().find(|event| event.contains(" is down")).with_context(|| format!("{of:#?}"))?;
        ensure!(down.contains("down say n") && down.ends_with("; confirmation failed"), "{down}");
    }
    let of_cut = |event: &&String| cut.iter().any(|node| event.starts_with(&format!("node n{node} is ")));
    ensure!(told.iter().filter(of_cut).count() == told.len(), "somebody else was judged: {told:#?}");
    wait_for("another leader", LIMIT, || {
        let to = json!({ "to": format!("n{other}") });
        five.call(leader, "hub", "acp.hub.Transfer", to).map_err(|error| format!("{error:#}"))
    })?;
    for node in NODES {
        until(five, other, node, "online", LIMIT)?;
    }
    let again = events(other)?;
    // What has changed since is told, too; of what was told nothing is told again.
    ensure!(again.starts_with(&told), "another leader says {again:#?}");
    let mut last = BTreeMap::new();
    for event in &again {
        let word: Vec<&str> = event.split([' ', ':', ',']).skip(1).take(3).collect();
        ensure!(last.insert(word[0], word[2]) != Some(word[2]), "twice: {again:#?}");
    }
    Ok(())
}

/// What the leader takes a node for, once that is this.
fn until(five: &Five, leader: usize, node: usize, wanted: &str, limit: Duration) -> Result<Value> {
    wait_for(&format!("n{node} to be {wanted}"), limit, || {
        let judged = verdict(five, leader, node).map_err(|error| format!("{error:#}"))?;
        if judged["standing"] == wanted { Ok(judged) } else { Err(judged.to_string()) }
    })
}

fn verdict(five: &Five, leader: usize, node: usize) -> Result<Value> {
    let listed = five.call(leader, "hub", "acp.hub.ListNodes", json!({}))?;
    let name = format!("n{node}");
    let found = listed["nodes"].as_array().into_iter().flatten().find(|one| one["node"]["name"] == *name);
    found.map(|found| found["judged"].clone()).with_context(|| format!("{name} is not in {listed}"))
}
