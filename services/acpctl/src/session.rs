//! What every command needs: the daemons, the output, the options.

use std::{path::Path, time::Duration};

use acp_base::{Failure, Uid};
use acp_io_client::{Client, DEADLINE_DEFAULT, ServiceClient};
use acp_wire_api::{
    Method,
    cluster::{Get, GetRequest, List, ListRequest, Selector},
};
use acp_wire_model::{Kind, Object};

use crate::{args::Global, confirm::confirm, output::Output};

/// How long a call may take that answers only when units have stopped or started.
const PATIENCE: Duration = Duration::from_secs(180);

/// The options of one run of the program, and what they lead to.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    is_agreed: bool,
    timeout: Option<Duration>,
    pub(crate) out: Output,
}

impl Session {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            client: Client::new(&global.run_dir),
            is_agreed: global.yes,
            timeout: global.timeout.map(|span| span.0),
            out: Output::new(global.output),
        }
    }

    /// The time the caller gave, if any.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// A daemon. One whose socket is not there is not waited for: sockets outlive their daemons.
    pub(crate) fn service(&self, noun: &str) -> Result<ServiceClient, Failure> {
        self.check_socket(&self.client.run_dir().join(format!("{noun}.sock")), noun)?;
        Ok(self.client.service(noun).deadline(self.timeout.unwrap_or(DEADLINE_DEFAULT)))
    }

    /// A system's vmm.
    pub(crate) fn vmm(&self, system: &Uid) -> Result<ServiceClient, Failure> {
        let instance = system.simple();
        self.check_socket(&self.client.run_dir().join("vmm").join(format!("{instance}.sock")), "its vmm")?;
        Ok(self.client.instance("vmm", &instance).deadline(self.timeout.unwrap_or(DEADLINE_DEFAULT)))
    }

    fn check_socket(&self, socket: &Path, whose: &str) -> Result<(), Failure> {
        match socket.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::unavailable(format!(
                "{whose} is not running: there is no socket {}; is the node up, and is this its --run-dir?",
                socket.display()
            ))),
            // Whatever else is wrong, connecting says it better.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Calls a daemon.
    pub(crate) async fn call<M: Method>(&self, noun: &str, request: M::Request) -> Result<M::Reply, Failure> {
        self.service(noun)?.call::<M>(request).await
    }

    /// Calls a daemon that may take long.
    pub(crate) async fn call_patiently<M: Method>(&self, noun: &str, request: M::Request) -> Result<M::Reply, Failure> {
        self.service(noun)?.deadline(self.timeout.unwrap_or(PATIENCE)).call::<M>(request).await
    }

    /// All objects of a kind that meet the conditions, in the order of their names.
    pub(crate) async fn list(&self, kind: Kind, selectors: Vec<Selector>) -> Result<Vec<Object>, Failure> {
        let request = ListRequest { kind: Some(kind), selectors, min_index: None };
        let mut replies = self.service("cluster")?.stream::<List>(request).await?.bounded();
        let mut objects = Vec::new();
        while let Some(reply) = replies.next().await {
            objects.extend(reply?.objects);
        }
        Ok(objects)
    }

    /// One object.
    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Object, Failure> {
        let request = GetRequest { kind, name: Some(name.to_owned()), uid: None, min_index: None };
        self.call::<Get>("cluster", request).await.map(|reply| reply.object)
    }

    /// Returns if the operator agrees to `deed`.
    pub(crate) fn confirm(&self, deed: &str) -> Result<(), Failure> {
        confirm(self.is_agreed, deed)
    }
}
