//! S3: nodes come and go while things go wrong: two at once, cut at each step, the same token again, nobody who answers, and out
//! of a minority.

use std::{
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use acp_dev_testkit::{node, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    five::{Five, LIMIT, groups, others},
    s2_cuts::wait_writes,
};
use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] = &[
    Case { name: "quorum::s3_two_nodes_leave_and_join_at_once_with_one_token", run: two_at_once },
    Case { name: "quorum::s3_a_join_cut_at_any_step_ends_clean", run: cut_joins },
    Case { name: "quorum::s3_a_request_nobody_answers_ends_and_an_approved_one_joins", run: requests },
    Case { name: "quorum::s3_a_node_leaves_out_of_a_minority", run: leave_in_a_minority },
];

/// After how much of a join it is cut.
const CUT_AFTER: [Duration; 2] = [Duration::from_millis(30), Duration::from_millis(300)];
/// How long one join may take.
const JOIN_PATIENCE: &str = "20s";

fn two_at_once(five: &Five) -> Result<()> {
    let (first, second) = (4, 5);
    leave(five, first)?;
    leave(five, second)?;
    let token = token(five, 1, 2)?;
    let joins = [first, second].map(|number| join(five, number, Some(&token), &[]));
    for one in joins {
        ended(one?, true)?;
    }
    is_whole(five)?;
    leave(five, second)?;
    ended(join(five, second, Some(&token), &[])?, false).context("a token that was used up")?;
    ensure!(!is_member(five, second)?, "it was refused and is a member");
    come_back(five, second)
}

fn cut_joins(five: &Five) -> Result<()> {
    let newcomer = 5;
    for after in CUT_AFTER {
        leave(five, newcomer)?;
        let token = token(five, 1, 1)?;
        let joining = join(five, newcomer, Some(&token), &["--timeout", "5s"])?;
        thread::park_timeout(after);
        five.cut(&groups(&[&[newcomer], &others(&[newcomer])]))?;
        let said = joining.wait_with_output()?;
        five.heal()?;
        if !(said.status.success() && is_member(five, newcomer)?) {
            // The same node with the same key is admitted again, whatever had become of the first time.
            wait_for("the same token to bring it in", LIMIT, || {
                let again = join(five, newcomer, Some(&token), &[]).and_then(|again| ended(again, true));
                again
                    .or_else(|error| if is_member(five, newcomer).unwrap_or_default() { Ok(()) } else { Err(error) })
                    .map_err(|error| format!("{error:#}"))
            })
            .with_context(|| format!("cut after {after:?}"))?;
        }
        is_whole(five).with_context(|| format!("cut after {after:?}"))?;
    }
    Ok(())
}

fn requests(five: &Five) -> Result<()> {
    let newcomer = 5;
    leave(five, newcomer)?;
    ended(join(five, newcomer, None, &["--wait", "2s"])?, false).context("a request that nobody answered")?;
    ensure!(!is_member(five, newcomer)?, "nobody approved it and it is a member");
    let asking = join(five, newcomer, None, &["--wait", "40s"])?;
    let id = wait_for("the request to be listed", LIMIT, || {
        let listed = five.json(1, &["node", "requests"]).map_err(|error| format!("{error:#}"))?;
        let found = listed.as_array().into_iter().flatten().find(|one| one.to_string().contains("\"n5\""));
        let id = found.and_then(|one| one["request"].as_str().map(str::to_owned));
        id.ok_or_else(|| listed.to_string())
    })?;
    five.run(2, &["node", "approve", &id])?;
    ended(asking, true)?;
    is_whole(five)
}

fn leave_in_a_minority(five: &Five) -> Result<()> {
    let leaver = 5;
    five.cut(&groups(&[&[leaver], &others(&[leaver])]))?;
    five.wait_degraded(leaver, true)?;
    let said = five.acpctl(leaver, &["--timeout", "3s", "--yes", "node", "leave"])?;
    ensure!(said.status != 0, "it left without anybody knowing: {}", said.stdout);
    five.run(leaver, &["--yes", "node", "leave", "--force"])?;
    ensure!(!is_member(five, leaver)?, "it left by force and is a member");
    five.heal()?;
    wait_writes(five, 1, LIMIT)?;
    five.run(1, &["--yes", "node", "remove", "n5"])?;
    come_back(five, leaver)
}

/// Takes a node out of the cluster.
pub(super) fn leave(five: &Five, number: usize) -> Result<()> {
    five.run(number, &["--yes", "node", "leave"])?;
    ensure!(!is_member(five, number)?, "n{number} left and is a member");
    Ok(())
}

/// A token with which so many nodes can join, made at a node.
pub(super) fn token(five: &Five, at: usize, uses: usize) -> Result<String> {
    let made = five.json(at, &["node", "token", "create", "--uses", &uses.to_string()])?;
    Ok(made["text"].as_str().context("a token has a text")?.to_owned())
}

/// Brings a node in with a token of its own, and waits until all are there.
pub(super) fn come_back(five: &Five, number: usize) -> Result<()> {
    let token = token(five, through(number), 1)?;
    ended(join(five, number, Some(&token), &[])?, true)?;
    is_whole(five)
}

/// Through which node this one joins.
fn through(number: usize) -> usize {
    others(&[number])[0]
}

/// Begins to join.
fn join(five: &Five, number: usize, token: Option<&str>, more: &[&str]) -> Result<Child> {
    let mut command = node::acpctl_command(&five.member(number).layout);
    if !more.contains(&"--timeout") {
        command.args(["--timeout", if token.is_some() { JOIN_PATIENCE } else { "60s" }]);
    }
    command
        .args(["node", "join", &five.member(through(number)).address().to_string()])
        .args(more)
        .env_remove("ACP_TOKEN");
    command.envs(token.map(|token| ("ACP_TOKEN", token)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot run acpctl")
}

fn ended(joining: Child, is_well: bool) -> Result<()> {
    let said = joining.wait_with_output()?;
    let text = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success() == is_well, "`node join` ended with {}: {}", said.status, text.trim_end());
    Ok(())
}

fn is_member(five: &Five, number: usize) -> Result<bool> {
    let status: Value = five.call(number, "agent", "acp.agent.GetStatus", serde_json::json!({}))?;
    Ok(status["cluster"].is_object())
}

/// All five are members, each once, and have the same log; all of them vote.
pub(super) fn is_whole(five: &Five) -> Result<()> {
    wait_for("five members that are online", LIMIT, || {
        let listed = five.json(1, &["node", "list"]).map_err(|error| format!("{error:#}"))?;
        let mut names: Vec<_> = listed.as_array().into_iter().flatten().map(|one| one["name"].to_string()).collect();
        names.sort();
        if names.len() == 5 && names.windows(2).all(|pair| pair[0] != pair[1]) {
            Ok(())
        } else {
            Err(listed.to_string())
        }
    })?;
    five.lab().wait_voters()?;
    five.wait_agreed()
}
