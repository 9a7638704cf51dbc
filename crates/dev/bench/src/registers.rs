//! Objects of ours that benches read and write through the public path, as many clients at once, each on a connection of its own
//! to the node beside it.
//!
//! An object is an image that is declared and has no file: its source is free text, and nothing on a host follows from it.

use std::time::Duration;

use acp_base::Uid;
use acp_io_client::Client;
use acp_wire_api::cluster::{Create, CreateRequest, Get, GetRequest, Update, UpdateRequest};
use acp_wire_model::Kind;
use anyhow::{Result, ensure};
use serde_json::json;

use crate::cluster::Cluster;

/// How long any one call may take: benches measure what is answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// The objects.
#[derive(Clone, Debug)]
pub(crate) struct Registers(Vec<Uid>);

/// A client of one node.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    client: Client,
    uid: Uid,
}

impl Registers {
    /// Declares so many on n1 of a cluster.
    pub(crate) async fn declare(cluster: &Cluster, count: usize) -> Result<Self> {
        cluster.run(1, &["pool", "create", "default"])?;
        Self::declare_through(&Client::new(cluster.member(1)?.layout.run()), count).await
    }

    /// Declares so many on the node n1 of this client, which has a pool `default`.
    pub(crate) async fn declare_through(client: &Client, count: usize) -> Result<Self> {
        let mut uids = Vec::new();
        for number in 0..count {
            let spec = json!({
                "node": "n1", "pool": "default", "format": "raw", "size_bytes": 512, "virtual_size_bytes": 512,
                "sha256": "0".repeat(64), "source": "v0",
            });
            let request =
                CreateRequest { kind: Kind::Image, name: format!("register-{number}").parse()?, uid: None, spec };
            uids.push(client.service("cluster").call::<Create>(request).await?.uid);
        }
        Ok(Self(uids))
    }

    /// The client of this number: it calls the node `number % nodes`, counted from n1, and has one of the objects.
    pub(crate) fn caller(&self, cluster: &Cluster, number: usize, nodes: usize) -> Result<Caller> {
        Ok(self.caller_through(Client::new(cluster.member(number % nodes + 1)?.layout.run()), number))
    }

    /// The same through this client.
    pub(crate) fn caller_through(&self, client: Client, number: usize) -> Caller {
        Caller { client, uid: self.0[number % self.0.len()] }
    }
}

impl Caller {
    /// Writes, and waits no longer than this; answers the index.
    pub(crate) async fn write_within(&self, value: &str, patience: Duration) -> Result<u64> {
        let patch = json!({ "source": value });
        let request = UpdateRequest { kind: Kind::Image, uid: self.uid, patch, if_version: None };
        Ok(self.client.service("cluster").deadline(patience).call::<Update>(request).await?.index)
    }

    /// Writes; answers the index.
    pub(crate) async fn write(&self, value: &str) -> Result<u64> {
        self.write_within(value, PATIENCE).await
    }

    /// Reads: with a round to the majority, or from what the node has.
    pub(crate) async fn read(&self, linearizable: bool) -> Result<()> {
        let (kind, uid) = (Kind::Image, Some(self.uid));
        let request = GetRequest { kind, name: None, uid, node: None, min_index: None, linearizable, here: None };
        let reply = self.client.service("cluster").deadline(PATIENCE).call::<Get>(request).await?;
        ensure!(Some(reply.object.uid) == uid, "another object was answered");
        Ok(())
    }
}
