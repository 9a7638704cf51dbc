//! What every command needs: the daemons of the node chosen, the output, the options.

use std::time::Duration;

use acp_base::{Code, Failure, Name, Uid};
use acp_client::{Connection, Options, ServiceClient};
use acp_wire_api::{Method, cluster::Selector};
use acp_wire_model::{Kind, Object};

use crate::{
    args::Global,
    confirm::{confirm, confirm_by_name},
    output::Output,
    trace,
};

/// How long a call may take that answers only when units have stopped or started.
const PATIENCE: Duration = Duration::from_secs(180);

/// The options of one run of the program, and what they lead to.
#[derive(Debug)]
pub(crate) struct Session {
    acp: Connection,
    is_elsewhere: bool,
    is_agreed: bool,
    timeout: Option<Duration>,
    pub(crate) out: Output,
}

impl Session {
    /// Asks the agent which node this is, if another one may be meant.
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        let timeout = global.timeout.map(|span| span.0);
        let (run_dir, key_file) = (global.run_dir.clone(), global.key_file.clone());
        let usual = Options::default();
        let timeout_of_calls = timeout.unwrap_or(usual.timeout);
        let acp = Connection::new(Options { run_dir, key_file, timeout: timeout_of_calls, ..usual })?;
        let format = global.output;
        let acp = if global.trace { acp.tracing(move |call| trace::say(format, &call)) } else { acp };
        let out = Output::new(format);
        let mut session = Self { acp, is_elsewhere: false, is_agreed: global.yes, timeout, out };
        if let Some(node) = &global.node {
            session.go_to(node).await?;
        }
        Ok(session)
    }

    /// Goes to the node that an object shall be on, which must not be another than the one chosen.
    pub(crate) async fn place(&mut self, node: Option<&Name>) -> Result<(), Failure> {
        match (node, self.acp.node()) {
            (Some(wanted), Some(chosen)) if wanted != chosen => Err(Failure::invalid(format!(
                "--on {wanted} contradicts --node {chosen}: a system is created by the node that it shall be on, so give --on \
                 alone"
            ))),
            (Some(wanted), None) => self.go_to(wanted).await,
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Goes to the node where a system is at home, unless a node was chosen. If that cannot be found out, whoever is asked next
    /// says what is wrong.
    pub(crate) async fn go_to_system(&mut self, name: &Name) -> Result<(), Failure> {
        match self.acp.at_system(name).await {
            Ok(acp) => {
                self.is_elsewhere |= acp.node() != self.acp.node();
                self.acp = acp;
                Ok(())
            }
            Err(failure) if failure.code == Code::DeadlineExceeded => Err(failure),
            Err(_failure) => Ok(()),
        }
    }

    async fn go_to(&mut self, node: &Name) -> Result<(), Failure> {
        self.is_elsewhere = self.acp.here().await? != *node;
        self.acp = self.acp.on(Some(node));
        Ok(())
    }

    /// The time the caller gave, if any.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The cluster as it is seen with these options.
    pub(crate) const fn acp(&self) -> &Connection {
        &self.acp
    }

    /// Whether the daemons that are called are another node's.
    pub(crate) const fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// A command to go on with, on the same node.
    pub(crate) fn advice(&self, command: &str) -> String {
        match self.acp.node() {
            Some(node) => format!("acpctl --node {node} {command}"),
            None => format!("acpctl {command}"),
        }
    }

    /// A daemon. One whose socket is not there is not waited for: sockets outlive their daemons.
    pub(crate) fn service(&self, noun: &str) -> Result<ServiceClient, Failure> {
        self.acp.service(noun)
    }

    /// The daemon of this node, although the cluster may have another one in its place.
    pub(crate) fn daemon(&self, noun: &str) -> Result<ServiceClient, Failure> {
        self.acp.daemon(noun)
    }

    /// A system's vmm.
    pub(crate) fn vmm(&self, system: &Uid) -> Result<ServiceClient, Failure> {
        self.acp.instance("vmm", &system.simple())
    }

    /// Calls a daemon.
    pub(crate) async fn call<M: Method>(&self, noun: &str, request: M::Request) -> Result<M::Reply, Failure> {
        self.acp.call::<M>(noun, request).await
    }

    /// Calls a daemon that may take long.
    pub(crate) async fn call_patiently<M: Method>(&self, noun: &str, request: M::Request) -> Result<M::Reply, Failure> {
        self.service(noun)?.deadline(self.timeout.unwrap_or(PATIENCE)).call::<M>(request).await
    }

    /// All objects of a kind that meet the conditions, in the order of their names.
    pub(crate) async fn list(&self, kind: Kind, selectors: Vec<Selector>) -> Result<Vec<Object>, Failure> {
        self.acp.objects().list(kind, selectors).await
    }

    /// One object.
    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Object, Failure> {
        self.acp.objects().get(kind, name).await
    }

    /// Returns if the operator agrees to `deed`.
    pub(crate) fn confirm(&self, deed: &str) -> Result<(), Failure> {
        confirm(self.is_agreed, deed)
    }

    /// Returns if the operator agrees to `deed` by typing `name`, which is of what is at stake.
    pub(crate) fn confirm_by_name(&self, deed: &str, name: &str) -> Result<(), Failure> {
        confirm_by_name(self.is_agreed, deed, name)
    }
}
