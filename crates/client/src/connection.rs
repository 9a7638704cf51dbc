//! A node's daemons, and through its agent those of the others.

use std::{io, path::Path, time::Duration};

use acp_base::{Failure, Name};
use acp_io_client::{CallTrace, Client, ServiceClient, key_file};
use acp_wire_api::{Empty, Method, agent, cluster};

use crate::{Events, Jobs, Nodes, Objects, Options, Quorum, Systems, home};

/// A node's daemons, and through its agent those of the others. Cheap to clone; clones share their open conversations.
#[derive(Clone, Debug)]
pub struct Connection {
    client: Client,
    node: Option<Name>,
    has_key: bool,
    timeout: Duration,
}

impl Connection {
    /// A connection as the options say. Nothing is connected before it is used.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` or `FailedPrecondition` if the key file is missing, may not be read, or may be read by
    /// others ([`key_file::read`]).
    pub fn new(options: Options) -> Result<Self, Failure> {
        let client = Client::new(options.run_dir);
        let client = match &options.key_file {
            Some(path) => client.with_key(&secret(path)?),
            None => client.with_root_key(),
        };
        let client = client.on(options.node.as_ref());
        Ok(Self { client, node: options.node, has_key: options.key_file.is_some(), timeout: options.timeout })
    }

    /// The same connection, whose calls are executed on another node; `None`: on the one that the program runs on.
    #[must_use]
    pub fn on(&self, node: Option<&Name>) -> Self {
        Self { client: self.client.on(node), node: node.cloned(), ..self.clone() }
    }

    /// The same connection with another time limit for each call; reaching the service counts.
    #[must_use]
    pub fn timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The same connection, which tells of every call that was answered, and of the way it took.
    #[must_use]
    pub fn tracing(&self, sink: impl Fn(CallTrace) + Send + Sync + 'static) -> Self {
        Self { client: self.client.tracing(sink), ..self.clone() }
    }

    /// The node that was chosen.
    pub fn node(&self) -> Option<&Name> {
        self.node.as_ref()
    }

    /// Whether calls go straight to sockets of the node that the program runs on: with the caller's own rights, and with file
    /// descriptors. Asks the agent if a node was chosen.
    pub async fn is_direct(&self) -> Result<bool, Failure> {
        match &self.node {
            _ if self.has_key => Ok(false),
            None => Ok(true),
            Some(node) => Ok(self.here().await? == *node),
        }
    }

    /// The name of the node that the program runs on, as its agent says.
    pub async fn here(&self) -> Result<Name, Failure> {
        let agent = self.client.own("agent").deadline(self.timeout);
        self.check_socket("agent")?;
        agent.call::<agent::GetStatus>(Empty {}).await.map(|status| status.name)
    }

    /// A daemon of the node chosen, or a service that the cluster has once. A socket of this node that is missing is said at
    /// once: sockets outlive their daemons.
    pub fn service(&self, noun: &str) -> Result<ServiceClient, Failure> {
        self.check_socket(if self.node.is_none() && !self.has_key { noun } else { "agent" })?;
        Ok(self.client.service(noun).deadline(self.timeout))
    }

    /// One instance of a daemon that has several on a node, like the monitor of a system.
    pub fn instance(&self, noun: &str, instance: &str) -> Result<ServiceClient, Failure> {
        if self.node.is_none() && !self.has_key {
            check(&self.client.run_dir().join(noun).join(format!("{instance}.sock")), noun)?;
        }
        Ok(self.client.instance(noun, instance).deadline(self.timeout))
    }

    /// The daemon of this noun on the node chosen, although the cluster may have another one in its place: for questions about
    /// itself. On the program's own node it is asked with the rights of the program's user.
    pub fn daemon(&self, noun: &str) -> Result<ServiceClient, Failure> {
        if self.node.is_some() {
            return self.service(noun);
        }
        self.check_socket(noun)?;
        Ok(self.client.own(noun).deadline(self.timeout))
    }

    /// Calls a method of a service.
    pub async fn call<M: Method>(&self, noun: &str, request: M::Request) -> Result<M::Reply, Failure> {
        self.service(noun)?.call::<M>(request).await
    }

    /// Objects of every kind, as the node's cluster service has them.
    pub const fn objects(&self) -> Objects<'_> {
        Objects::new(self)
    }

    /// The systems of the cluster.
    pub const fn systems(&self) -> Systems<'_> {
        Systems::new(self)
    }

    /// The jobs of a service, like `hypervisor`.
    pub const fn jobs<'a>(&'a self, owner: &'a str) -> Jobs<'a> {
        Jobs::new(self, owner)
    }

    /// The members of the cluster.
    pub const fn nodes(&self) -> Nodes<'_> {
        Nodes::new(self)
    }

    /// The voters of the cluster's log, and what is done with them.
    pub const fn quorum(&self) -> Quorum<'_> {
        Quorum::new(self)
    }

    /// What has happened in the cluster: the entries of its log.
    pub const fn events(&self) -> Events<'_> {
        Events::new(self)
    }

    /// The same connection, whose calls are executed where the system is at home ([`home::of_system`]); unchanged if a node was
    /// chosen, or if that is this node.
    ///
    /// # Errors
    /// As of the node's cluster service: `NotFound` if there is no such system.
    pub async fn at_system(&self, name: &Name) -> Result<Self, Failure> {
        if self.node.is_some() {
            return Ok(self.clone());
        }
        let cluster = self.service(home::CLUSTER)?;
        let home = home::of_system(&cluster, name).await?;
        let here = cluster.call::<cluster::GetStatus>(Empty {}).await?.node;
        Ok(if home == here { self.clone() } else { self.on(Some(&home)) })
    }

    fn check_socket(&self, noun: &str) -> Result<(), Failure> {
        check(&self.client.run_dir().join(format!("{noun}.sock")), noun)
    }
}

fn check(socket: &Path, whose: &str) -> Result<(), Failure> {
    match socket.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::unavailable(format!(
            "{whose} is not running: there is no socket {}; is the node up, and is this its run directory?",
            socket.display()
        ))),
        // Whatever else is wrong, connecting says it better.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn secret(path: &Path) -> Result<String, Failure> {
    key_file::read(path)?.ok_or_else(|| Failure::not_found(format!("there is no key file {}", path.display())))
}
