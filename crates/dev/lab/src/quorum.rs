//! The voters of a lab's cluster, as its hubs tell of them.

use std::time::Duration;

use acp_dev_testkit::{node, varlink, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::{Lab, Member};

/// How long the voters may take to be as many as they shall be: each is prepared, catches up and is taken in, one by one.
const GROWTH_LIMIT: Duration = Duration::from_secs(60);

/// What a hub knows of the voters.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Quorum {
    /// The leader's name; absent: it knows none.
    #[serde(default)]
    pub leader: Option<String>,
    /// Its election term.
    pub term: u64,
    /// Why nothing can be changed just now; empty when everything can.
    pub degraded: String,
    /// The last index of the log that it has applied.
    pub applied: u64,
    /// `<number>-<id>`.
    pub epoch: String,
    /// The voters, and those that are about to be.
    pub voters: Vec<Voter>,
}

/// A voter.
#[derive(Clone, Debug, Deserialize)]
pub struct Voter {
    /// The node's name.
    pub name: String,
    /// `leader`, `follower` or `learner`.
    pub role: String,
}

impl Quorum {
    /// The names of those that vote.
    pub fn names(&self) -> Vec<&str> {
        self.voters.iter().filter(|voter| voter.role != "learner").map(|voter| voter.name.as_str()).collect()
    }
}

/// What the hub of this node knows of the voters.
pub fn quorum_of(member: &Member) -> Result<Quorum> {
    let reply = varlink::call(&member.layout.socket("hub"), "acp.hub.GetQuorum", json!({}))?;
    serde_json::from_value(reply.clone()).with_context(|| format!("{} answered {reply}", member.name))
}

impl Lab {
    /// What the leader itself knows of the voters.
    pub fn quorum(&self) -> Result<Quorum> {
        let known = self.members().iter().filter_map(|member| Some((member, quorum_of(member).ok()?)));
        let is_leader = |(member, quorum): &(&Member, Quorum)| {
            quorum.leader.as_ref().is_some_and(|leader| *leader == member.name.to_string())
                && quorum.degraded.is_empty()
        };
        let newest = known.filter(is_leader).max_by_key(|(_, quorum)| quorum.term);
        newest.map(|(_, quorum)| quorum).context("no hub says that it leads")
    }

    /// Waits until as many nodes vote as are to; answers them.
    pub fn wait_voters(&self) -> Result<Quorum> {
        let wanted = usize::from(self.planned().voters());
        wait_for(&format!("{wanted} voters"), GROWTH_LIMIT, || {
            let quorum = self.quorum().map_err(|error| format!("{error:#}"))?;
            if quorum.names().len() == wanted && quorum.voters.len() == wanted {
                Ok(quorum)
            } else {
                Err(format!("{:?}", quorum.voters))
            }
        })
    }

    /// Says how many voters there shall be, if that is another number than the cluster decides by itself.
    pub(crate) fn ask_for_voters(&self) -> Result<()> {
        let Some(voters) = self.planned().voters else { return Ok(()) };
        let first = self.members().first().context("a lab has a node")?;
        let said = node::acpctl(&first.layout, &["cluster", "voters", &voters.to_string()])?;
        ensure!(said.status == 0, "`acpctl cluster voters {voters}`: {}{}", said.stdout, said.stderr);
        Ok(())
    }
}
