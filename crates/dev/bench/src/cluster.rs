//! Nodes of one cluster for a bench, in network namespaces of their own, gone when it is dropped.

use std::path::{Path, PathBuf};

use acp_dev_lab::{Lab, Member, Plan};
use acp_dev_testkit::{node, process::Identity, varlink};
use acp_io_client::Client;
use anyhow::{Context as _, Result, bail};
use serde_json::json;

/// Such nodes, called n1, n2 and so on. n1 is the control plane.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: PathBuf,
    /// There until it is taken down.
    lab: Option<Lab>,
}

impl Cluster {
    /// Starts so many nodes and makes them one cluster.
    pub(crate) fn start(bin: &Path, nodes: u8) -> Result<Self> {
        let dir = PathBuf::from(format!("/tmp/acp-bench-{}", std::process::id()));
        let lab = Lab::plan(&dir, Plan { nodes, domains: 1, bin: bin.to_owned() })?;
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
