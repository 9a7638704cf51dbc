//! Clients that write to a node through its sockets, one thing after the other, and say what they asked for and heard.
//!
//! Deliberately not here: what comes of it (see [`crate::audit`] and [`crate::ledger`]). **Invariants**: everything made here
//! has a name that begins with [`PREFIX`]; a name is never used twice in a node's history; each client has few things at a
//! time and ends after [`OPERATIONS_MAX`] of them, at the first failure, or when the node is gone.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::{
    ledger::{Line, State, Subject},
    varlink::Conversation,
    wait_for,
};

/// How the name of everything made here begins.
pub const PREFIX: &str = "load-";
/// Things that one client makes: more than a node takes in the seconds that a load runs.
const OPERATIONS_MAX: u32 = 1_000;
/// Things of one client that are there at a time: the next one made is followed by the deletion of the oldest.
const KEPT: usize = 4;
/// How long a job may take beside other load.
const JOB_LIMIT: Duration = Duration::from_secs(60);
/// The size of a disk when it is made, and after it was enlarged, in bytes.
const DISK_BYTES: [u64; 2] = [1 << 20, 2 << 20];

/// Where a client says what it does.
pub type Say<'a> = &'a (dyn Fn(Line) + Sync);

/// A load on one node.
#[derive(Clone, Debug)]
pub struct Load {
    /// The node's run directory, in which its sockets lie.
    pub run: PathBuf,
    /// Counts the starts of the node: keeps names apart.
    pub life: u32,
    /// Clients that declare networks.
    pub networks: u32,
    /// Clients that make volumes.
    pub volumes: u32,
    /// Clients that make systems.
    pub systems: u32,
}

/// What a client does with the number `turn`: it makes one thing and removes an old one.
type Turn = fn(&mut Client<'_>, u32) -> Result<()>;

impl Load {
    /// Runs every client until it has ended.
    pub fn run(&self, say: Say<'_>) {
        let of = |count: u32, daemon: &'static str, turn: Turn| (0..count).map(move |number| (number, daemon, turn));
        let clients = of(self.networks, "cluster", network).chain(of(self.volumes, "storage", volume)).chain(of(
            self.systems,
            "hypervisor",
            system,
        ));
        thread::scope(|scope| {
            for (number, daemon, turn) in clients {
                scope.spawn(move || {
                    if let Err(end) = self.client(number, daemon, turn, say) {
                        say(Line::Note(format!("client {number} of {daemon} ended: {end:#}")));
                    }
                });
            }
        });
    }

    fn client(&self, number: u32, daemon: &'static str, turn: Turn, say: Say<'_>) -> Result<()> {
        let daemon = Conversation::open(&self.run.join(format!("{daemon}.sock")))?;
        let mut client = Client { daemon, life: self.life, number, made: VecDeque::new(), say };
        (0..OPERATIONS_MAX).try_for_each(|count| turn(&mut client, count))
    }
}

struct Client<'a> {
    daemon: Conversation,
    life: u32,
    number: u32,
    /// What was made and not removed, oldest first: name and uid.
    made: VecDeque<(String, Value)>,
    say: Say<'a>,
}

impl Client<'_> {
    fn name(&self, letter: char, turn: u32) -> String {
        format!("{PREFIX}{letter}{}-{}-{turn}", self.number, self.life)
    }

    fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        let mut reply = self.daemon.call(method, parameters)?;
        match reply.get("error") {
            Some(error) => bail!("{method} answered {error}: {}", reply["parameters"]),
            None => Ok(reply["parameters"].take()),
        }
    }

    /// Calls, and says before and after what the subject shall be and is; waits for the job if the call has begun one.
    fn change(&mut self, subject: &Subject, state: State, method: &str, parameters: Value) -> Result<Value> {
        (self.say)(Line::Try(subject.clone(), state.clone()));
        let reply = self.call(method, parameters)?;
        if let Some(job) = reply.get("job").filter(|job| !job.is_null()) {
            self.wait_job(job)?;
        }
        (self.say)(Line::Ack(subject.clone(), state));
        Ok(reply)
    }

    fn wait_job(&mut self, job: &Value) -> Result<()> {
        let ended = wait_for("a job to end", JOB_LIMIT, || match self.call("acp.jobs.Get", json!({ "id": job })) {
            Err(error) => Ok(Err(error)),
            Ok(reply) if reply["job"]["state"] == "running" => Err(reply["job"].to_string()),
            Ok(reply) => Ok(Ok(reply)),
        })??;
        if ended["job"]["state"] == "succeeded" { Ok(()) } else { bail!("a job failed: {ended}") }
    }

    /// The oldest thing, once there are enough.
    fn surplus(&mut self) -> Option<(String, Value)> {
        if self.made.len() > KEPT { self.made.pop_front() } else { None }
    }
}

/// Declares a network, changes every other one, removes an old one.
fn network(client: &mut Client<'_>, turn: u32) -> Result<()> {
    let name = client.name('n', turn);
    let subject = Subject::new("network", &name);
    // Far more subnets than networks of a client that are there at a time.
    let address = format!("10.{}.{}.1/24", 128 + client.number, turn % 256);
    let spec = json!({ "address": address, "dhcp": false, "nat": true });
    let request = json!({ "kind": "network", "name": name, "spec": spec });
    let reply = client.change(&subject, Some("nat=true".into()), "acp.cluster.Create", request)?;
    let uid = reply["uid"].clone();
    if turn.is_multiple_of(2) {
        let request = json!({ "kind": "network", "uid": uid, "patch": { "nat": false } });
        client.change(&subject, Some("nat=false".into()), "acp.cluster.Update", request)?;
    }
    client.made.push_back((name, uid));
    if let Some((name, uid)) = client.surplus() {
        let request = json!({ "kind": "network", "uid": uid });
        client.change(&Subject::new("network", &name), None, "acp.cluster.Delete", request)?;
    }
    Ok(())
}

/// Makes a volume, enlarges or copies it, removes an old one.
fn volume(client: &mut Client<'_>, turn: u32) -> Result<()> {
    let name = client.name('v', turn);
    let subject = Subject::new("volume", &name);
    let [small, large] = DISK_BYTES;
    let request = json!({ "pool": "default", "volume": name, "size_bytes": small, "format": "raw" });
    client.change(&subject, Some(small.to_string()), "acp.storage.CreateVolume", request)?;
    client.made.push_back((name.clone(), Value::Null));
    if turn.is_multiple_of(2) {
        let request = json!({ "pool": "default", "volume": name, "size_bytes": large });
        client.change(&subject, Some(large.to_string()), "acp.storage.ExpandVolume", request)?;
    } else {
        let copy = format!("{name}-copy");
        let request = json!({ "pool": "default", "volume": name, "target": copy });
        client.change(&Subject::new("volume", &copy), Some(small.to_string()), "acp.storage.CloneVolume", request)?;
        client.made.push_back((copy, Value::Null));
    }
    while let Some((name, _)) = client.surplus() {
        let request = json!({ "pool": "default", "volume": name });
        client.change(&Subject::new("volume", &name), None, "acp.storage.DeleteVolume", request)?;
    }
    Ok(())
}

/// Makes a system with an empty disk, removes an old one.
fn system(client: &mut Client<'_>, turn: u32) -> Result<()> {
    let name = client.name('s', turn);
    let request = json!({ "name": name, "disk_bytes": DISK_BYTES[0], "pool": "default", "memory_bytes": 64 << 20 });
    let made = Some("declared".to_owned());
    client.change(&Subject::new("system", &name), made, "acp.hypervisor.CreateSystem", request)?;
    client.made.push_back((name, Value::Null));
    if let Some((name, _)) = client.surplus() {
        let subject = Subject::new("system", &name);
        client.change(&subject, None, "acp.hypervisor.DeleteSystem", json!({ "name": name }))?;
    }
    Ok(())
}

/// Removes what an earlier load of this node has left, and says so like any other change.
pub fn clear(run: &Path, found: &[Subject], say: Say<'_>) -> Result<()> {
    for subject in found {
        let (daemon, method) = match subject.kind.as_str() {
            "network" => ("cluster", "acp.cluster.Delete"),
            "volume" => ("storage", "acp.storage.DeleteVolume"),
            "system" => ("hypervisor", "acp.hypervisor.DeleteSystem"),
            other => bail!("a load leaves no {other}"),
        };
        let daemon = Conversation::open(&run.join(format!("{daemon}.sock")))?;
        let mut client = Client { daemon, life: 0, number: 0, made: VecDeque::new(), say };
        let name = &subject.name;
        let request = match subject.kind.as_str() {
            "network" => {
                let found = client.call("acp.cluster.Get", json!({ "kind": "network", "name": name }))?;
                json!({ "kind": "network", "uid": found["object"]["uid"] })
            }
            "volume" => json!({ "pool": "default", "volume": name }),
            _system => json!({ "name": name }),
        };
        client.change(subject, None, method, request).with_context(|| format!("cannot remove {subject}"))?;
    }
    Ok(())
}
