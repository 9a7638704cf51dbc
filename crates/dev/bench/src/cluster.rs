//! Nodes of one cluster for a bench, in network namespaces of their own, gone when it is dropped.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use acp_dev_lab::{Lab, Member, Plan};
use acp_dev_testkit::{node, process::Identity, varlink, wait_for};
use acp_io_client::Client;
use anyhow::{Context as _, Result, bail};
use serde_json::json;

/// How long the nodes may be without a leader.
const LEADER_LIMIT: Duration = Duration::from_secs(60);

/// Such nodes, called n1, n2 and so on. As many as can, vote.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: PathBuf,
    /// There until it is taken down.
    lab: Option<Lab>,
}

impl Cluster {
    /// Starts so many nodes and makes them one cluster.
    pub(crate) fn start(bin: &Path, nodes: usize) -> Result<Self> {
        let nodes = u8::try_from(nodes).context("a lab has few nodes")?;
        let dir = PathBuf::from(format!("/tmp/acp-bench-{}", std::process::id()));
        let lab = Lab::plan(&dir, Plan { nodes, domains: 1, voters: None, bin: bin.to_owned(), second_bin: None })?;
        let cluster = Self { dir, lab: Some(lab) };
        let lab = cluster.lab()?;
        lab.wire()?;
        lab.each(|member| lab.start(member.name))?;
        lab.unite()?;
        Ok(cluster)
    }

    fn lab(&self) -> Result<&Lab> {
        self.lab.as_ref().context("the nodes were taken down")
    }

    /// The number of the node that leads the control plane.
    pub(crate) fn leader(&self) -> Result<usize> {
        wait_for("a leader", LEADER_LIMIT, || {
            let quorum = self.lab().and_then(Lab::quorum).map_err(|error| format!("{error:#}"))?;
            let leader = quorum.leader.as_deref().and_then(|name| name.strip_prefix('n')?.parse().ok());
            leader.ok_or_else(|| format!("{quorum:?}"))
        })
    }

    /// Kills everything of a node.
    pub(crate) fn kill(&self, number: usize) -> Result<()> {
        self.lab()?.kill(self.member(number)?.name, None)
    }

    /// Lets none of a node's packets through.
    pub(crate) fn silence(&mut self, number: usize) -> Result<()> {
        let name = self.member(number)?.name;
        self.lab.as_mut().context("the nodes were taken down")?.silence(name)
    }

    /// Ends every silence.
    pub(crate) fn heal(&mut self) -> Result<()> {
        self.lab.as_mut().context("the nodes were taken down")?.heal()
    }

    /// Starts a node again and waits until it is ready and hears the control plane.
    pub(crate) fn start_again(&self, number: usize) -> Result<()> {
        let name = self.member(number)?.name;
        self.lab()?.start(name)?;
        self.lab()?.settle(name).map(drop)
    }

    /// Where a bench keeps what it needs besides.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node of this number, counted from 1.
    pub(crate) fn member(&self, number: usize) -> Result<&Member> {
        let member = number.checked_sub(1).and_then(|at| self.lab().ok()?.members().get(at));
        member.with_context(|| format!("there is no node n{number}"))
    }

    /// Runs `acpctl` on a node, which has to succeed, and answers what it printed.
    pub(crate) fn run(&self, number: usize, arguments: &[&str]) -> Result<String> {
        node::run(&self.member(number)?.layout, arguments)
    }

    /// The main process of a unit of a node.
    pub(crate) fn process(&self, number: usize, unit: &str) -> Result<Identity> {
        node::unit_process(&self.member(number)?.layout, unit)
    }

    /// A client on one node whose calls are executed on another one, as those of root are. It knows that they are for another
    /// node, as everything that lives longer than one command does.
    pub(crate) fn client(&self, from: usize, to: usize) -> Result<Client> {
        let (key, from, to) = (self.root_key(from)?, self.member(from)?, self.member(to)?);
        let to = to.name.to_string().parse()?;
        Ok(Client::new(from.layout.run()).on(Some(&to)).with_key(&key))
    }

    /// The key of a node's root.
    pub(crate) fn root_key(&self, number: usize) -> Result<String> {
        let socket = self.member(number)?.layout.socket("agent");
        let status = varlink::call(&socket, "acp.agent.GetStatus", json!({}))?;
        let path = status["root_key_path"].as_str().context("an agent says where root's key lies")?;
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        Ok(text.trim().to_owned())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(lab) = self.lab.take() else { return };
        let down = lab.down(true).and_then(|forced| if forced.is_empty() { Ok(()) } else { bail!(forced.join("; ")) });
        if let Err(error) = down {
            eprintln!("the nodes were not taken down cleanly: {error:#}");
        }
    }
}
