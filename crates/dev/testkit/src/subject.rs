//! Whether the daemons of a node do their work: asked for while a system runs, after one of them was ended.
//!
//! What is asked is what an operator would see: the answer to a call, not the state of a process. Deliberately not here: how
//! daemons are ended, and how long they may be away.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    Node,
    process::Identity,
    varlink::{self, Conversation},
    wait_for,
};

/// The volume that is asked for again and again; asking for what is there changes nothing.
const VOLUME: &str = "asked";
/// Its size in bytes.
const VOLUME_BYTES: u64 = 4 << 20;
/// Where the API is served inside a node's network.
const API: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9933);
/// How long a page of the API may take.
const PAGE_LIMIT: Duration = Duration::from_secs(1);
/// How long a system that was told to run may take until it is said to.
const RUNNING_LIMIT: Duration = Duration::from_secs(30);

/// A system that runs while daemons end, and what proves that they do their work.
#[derive(Debug)]
pub struct Subject<'a> {
    node: &'a Node,
    /// The system's name.
    pub name: &'static str,
    /// Its uid.
    pub uid: String,
    /// Its QEMU.
    pub qemu: Identity,
}

impl<'a> Subject<'a> {
    /// The system of this name, which runs or is about to.
    pub fn of(node: &'a Node, name: &'static str) -> Result<Self> {
        let (uid, pid) = wait_for(&format!("system {name} to run"), RUNNING_LIMIT, || {
            let (uid, status) = system(node, name).map_err(|error| format!("{error:#}"))?;
            let pid = status["pid"].as_i64().filter(|_pid| status["state"] == "running");
            pid.map(|pid| (uid, pid)).ok_or_else(|| status.to_string())
        })?;
        let qemu = Identity::of(i32::try_from(pid)?).context("its process has ended")?;
        Ok(Self { node, name, uid, qemu })
    }

    /// The unit of a template that belongs to the system.
    pub fn unit(&self, template: &str) -> String {
        format!("{template}@{}", self.uid.replace('-', ""))
    }

    /// The units that may die without the guest noticing, the framework excepted.
    pub fn daemons(&self) -> Vec<String> {
        let fixed = ["cluster", "storage", "storage-worker@default", "network", "hypervisor", "hub", "agent", "api"];
        fixed.into_iter().map(str::to_owned).chain([self.unit("vmm")]).collect()
    }

    /// The process that answers at a unit's socket now, to which nothing is lacking.
    pub fn process(&self, unit: &str) -> Result<Identity> {
        let health = self.call(&unit.replace('@', "/"), "acp.daemon.GetHealth", json!({}))?;
        ensure!(health["ready"] == true && health["reason"] == "", "not all is well with {unit}: {health}");
        let pid = i32::try_from(health["pid"].as_i64().context("a process has an id")?)?;
        Identity::of(pid).with_context(|| format!("process {pid} of {unit} has ended"))
    }

    /// Whether another process than `before` is there and does what the unit is for.
    pub fn works(&self, unit: &str, before: Identity) -> Result<()> {
        let now = self.process(unit)?;
        ensure!(now != before, "process {} of {unit} has not ended", before.pid);
        match unit.split('@').next().unwrap_or_default() {
            "framework" => self.units_are_adopted(),
            "cluster" => self.is_shown(),
            "storage" | "storage-worker" => self.ask_for_volume(),
            "network" => self.network_is_kept(),
            "hypervisor" => self.is_kept_running(),
            "vmm" => self.runs_says_its_monitor(),
            "hub" => self.call("hub", "acp.hub.GetStatus", json!({})).map(drop),
            "agent" => self.call("agent", "acp.agent.ListMembers", json!({})).map(drop),
            "api" => self.pages_are_served(),
            other => bail!("nothing is known that proves that {other} works"),
        }
    }

    /// Makes the volume, or finds it: a worker has to look at its pool for either.
    pub fn ask_for_volume(&self) -> Result<()> {
        let parameters = json!({ "pool": "default", "volume": VOLUME, "size_bytes": VOLUME_BYTES });
        let reply = self.call("storage", "acp.storage.CreateVolume", parameters)?;
        ensure!(reply["size_bytes"] == VOLUME_BYTES, "it is another volume: {reply}");
        Ok(())
    }

    /// Removes what [`Self::ask_for_volume`] made.
    pub fn forget_volume(&self) -> Result<()> {
        self.node.run(&["--yes", "volume", "delete", &format!("default/{VOLUME}")]).map(drop)
    }

    fn call(&self, noun: &str, method: &str, parameters: Value) -> Result<Value> {
        varlink::call(&self.node.socket(noun), method, parameters)
    }

    fn units_are_adopted(&self) -> Result<()> {
        let reply = self.call("framework", "acp.framework.ListUnits", json!({}))?;
        let units = reply["units"].as_array().context("no list of units")?;
        let has_guest = units.iter().any(|unit| unit["meta"]["pid"] == self.qemu.pid);
        ensure!(has_guest && units.iter().all(|unit| unit["meta"]["state"] == "ready"), "the units are {units:?}");
        Ok(())
    }

    /// The cluster shows the spec, which it keeps, and the status, which the hypervisor has to tell it again.
    fn is_shown(&self) -> Result<()> {
        let (uid, status) = system(self.node, self.name)?;
        ensure!(uid == self.uid, "{} is another system now", self.name);
        ensure!(status["state"] == "running" && status["pid"] == self.qemu.pid, "it is shown as {status}");
        Ok(())
    }

    /// The hypervisor knows that there is nothing to start.
    fn is_kept_running(&self) -> Result<()> {
        let reply = self.call("hypervisor", "acp.hypervisor.StartSystem", json!({ "name": self.name }))?;
        ensure!(reply["job"].is_null(), "a system that runs is being started: {reply}");
        self.is_shown()
    }

    fn runs_says_its_monitor(&self) -> Result<()> {
        let mut watch = Conversation::open(&self.node.socket(&self.unit("vmm").replace('@', "/")))?;
        watch.send(&json!({ "method": "acp.vmm.Watch", "parameters": {}, "more": true }))?;
        let first = watch.receive()?.context("its monitor closed the connection")?;
        ensure!(first["parameters"]["state"] == "running", "its monitor says {first}");
        Ok(())
    }

    /// The API answers on the node's own loopback.
    fn pages_are_served(&self) -> Result<()> {
        let request = b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        let mut reply = String::new();
        self.node.layout().namespace().run(|| {
            let mut stream = TcpStream::connect_timeout(&API.into(), PAGE_LIMIT)?;
            stream.set_read_timeout(Some(PAGE_LIMIT))?;
            stream.write_all(request)?;
            stream.read_to_string(&mut reply)?;
            Ok(())
        })?;
        ensure!(reply.starts_with("HTTP/1.1 200 "), "it answered {reply}");
        Ok(())
    }

    /// The network service knows who uses the network, and says that the network is up.
    fn network_is_kept(&self) -> Result<()> {
        let socket = self.node.socket("network");
        let reply = Conversation::open(&socket)?.call("acp.network.DeleteNetwork", json!({ "name": "default" }))?;
        ensure!(reply["error"] == "acp.error.FailedPrecondition", "it answered {reply}");
        let (_uid, meta) = object(self.node, "network", "default")?;
        ensure!(meta["state"] == "up", "the network is {meta}");
        Ok(())
    }
}

fn system(node: &Node, name: &str) -> Result<(String, Value)> {
    object(node, "system", name)
}

/// An object's uid and what its reporter says of it.
fn object(node: &Node, kind: &str, name: &str) -> Result<(String, Value)> {
    let reply = varlink::call(&node.socket("cluster"), "acp.cluster.Get", json!({ "kind": kind, "name": name }))?;
    let object = &reply["object"];
    let slots = object["slots"].as_array().context("an object has slots")?;
    let uid = object["uid"].as_str().context("an object has a uid")?.to_owned();
    // Measurements of a system come from another reporter than its state, and both have slots.
    let is_state = |slot: &&Value| slot["facet"] == "meta";
    Ok((uid, slots.iter().find(is_state).map(|slot| slot["data"].clone()).unwrap_or_default()))
}
