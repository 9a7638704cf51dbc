//! The nodes of a lab as one cluster: n1 is its first node, the others join it as an operator's would.

use std::time::Duration;

use acp_dev_testkit::{node, record::Record, varlink, wait_for};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::{Lab, Member, MemberName};

/// The cluster's name.
const CLUSTER: &str = "lab";
/// How long a node may take to hear the control plane: an agent that starts dials at once, and again within 2 s.
const HEARD_LIMIT: Duration = Duration::from_secs(30);
/// How long ago the control plane may have been heard by a node that hears it: it says something every 2 s.
const HEARD_MS_MAX: u64 = 5_000;

/// How a node that was started stands to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A member that hears the control plane.
    Member,
    /// A member of which too few others run for a control plane.
    Orphan,
    /// In no cluster.
    Alone,
}

impl Lab {
    /// Makes the nodes one cluster as far as they are not, and waits until each hears the control plane; answers whether
    /// anything was to be done. They run.
    pub fn unite(&self) -> Result<bool> {
        let (first, others) = self.members().split_first().context("a lab has a node")?;
        let begins = !is_member(first)?;
        if begins {
            node::run(&first.layout, &["cluster", "init", CLUSTER, "--address", &first.address().to_string()])?;
            self.ask_for_voters()?;
        }
        let mut strangers = Vec::new();
        for member in others {
            if !is_member(member)? {
                strangers.push(member.name);
            }
        }
        if !strangers.is_empty() {
            let token = token(first, strangers.len())?;
            self.each(|member| if strangers.contains(&member.name) { join(member, first, &token) } else { Ok(()) })?;
        }
        self.each(wait_heard)?;
        self.assign_domains(first)?;
        self.wait_voters()?;
        Ok(begins || !strangers.is_empty())
    }

    /// Tells the cluster of which domain each node is; those of the first one are of the one that nothing has to be said of.
    fn assign_domains(&self, first: &Member) -> Result<()> {
        for member in self.members().iter().filter(|member| member.domain > 1) {
            let (node, domain) = (member.name.to_string(), format!("domain{}", member.domain));
            node::run(&first.layout, &["domain", "assign", &node, &domain])?;
        }
        Ok(())
    }

    /// Whether all nodes run, are ready and hear the control plane of one cluster, whose voters are as many as planned.
    pub fn is_united(&self) -> Result<bool> {
        for member in self.members() {
            let runs = runs(member)? && node::acpctl(&member.layout, &["status"])?.status == 0;
            if !runs || !hears(&status(member)?) {
                return Ok(false);
            }
        }
        Ok(self.quorum().is_ok_and(|quorum| quorum.names().len() == usize::from(self.planned().voters())))
    }

    /// Waits until a node that runs has its place in the cluster again; answers which.
    pub fn settle(&self, name: MemberName) -> Result<Standing> {
        let member = self.member(name)?;
        if !is_member(member)? {
            return Ok(Standing::Alone);
        }
        let running = self.members().iter().map(runs).collect::<Result<Vec<bool>>>()?;
        if 2 * running.iter().filter(|runs| **runs).count() <= running.len() && running.len() > 2 {
            return Ok(Standing::Orphan);
        }
        wait_heard(member).map(|()| Standing::Member)
    }
}

fn runs(member: &Member) -> Result<bool> {
    Ok(Record::load(&member.layout)?.is_some_and(|record| record.guard.is_alive()))
}

/// What the node's agent says of itself.
fn status(member: &Member) -> Result<Value> {
    varlink::call(&member.layout.socket("agent"), "acp.agent.GetStatus", json!({}))
}

fn is_member(member: &Member) -> Result<bool> {
    Ok(status(member)?["cluster"].is_object())
}

fn hears(status: &Value) -> bool {
    status["hub_heard_ms"].as_u64().is_some_and(|ms| ms <= HEARD_MS_MAX)
}

fn wait_heard(member: &Member) -> Result<()> {
    wait_for(&format!("{} to hear the control plane", member.name), HEARD_LIMIT, || match status(member) {
        Ok(status) if hears(&status) => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("{error:#}")),
    })
}

/// A token with which so many nodes can join.
fn token(first: &Member, nodes: usize) -> Result<String> {
    let printed = node::run(&first.layout, &["-o", "json", "node", "token", "create", "--uses", &nodes.to_string()])?;
    let reply: Value = serde_json::from_str(&printed).context("a token that is no JSON")?;
    Ok(reply["text"].as_str().context("a reply without a token")?.to_owned())
}

/// Lets a node join. The token goes by the environment: others can read what commands are called with.
fn join(member: &Member, first: &Member, token: &str) -> Result<()> {
    let mut command = node::acpctl_command(&member.layout);
    command.args(["node", "join", &first.address().to_string()]).env("ACP_TOKEN", token);
    let out = command.output().context("cannot run acpctl")?;
    if out.status.success() {
        return Ok(());
    }
    bail!("`acpctl node join` ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim_end())
}
