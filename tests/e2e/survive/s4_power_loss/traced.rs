//! The system calls between a request and its acknowledgement, as `strace` sees them: what the acknowledgement promises has
//! been synchronised with the disk in between.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use acp_dev_testkit::{process, varlink::Conversation, wait_for};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::world::{LIMIT, World};

/// What is recorded: what arrives, what is answered, what changes names, what is synchronised.
const CALLS: &str = "trace=recvfrom,recvmsg,read,sendto,sendmsg,write,writev,\
                     fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat";
/// Bytes shown of what is received: more than a request here has.
const SHOWN_BYTES: &str = "2048";
/// Writes of one client in a row.
const WRITES: u32 = 5;

/// Something that has to happen between request and reply, in this order. Paths are compared by a part of them.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A file or directory whose path ends so is synchronised.
    Synced(&'static str),
    /// A name that has this in it is put in place of another, or of none.
    Renamed(&'static str),
    /// A name that has this in it is removed.
    Removed(&'static str),
}
use Step::{Removed, Renamed, Synced};

/// An entry of the log: at the hub that leads, which sends it before that, then at the replica.
const LOG: &[Step] = &[Synced("/raft.sqlite-wal"), Synced("/cdb.sqlite-wal")];
/// A file in a pool: what appears under its name has its content, and the name is durable.
const VOLUME: &[Step] = &[Synced("/staging/"), Renamed("/volumes"), Synced("/volumes")];
const VOLUME_GONE: &[Step] = &[Removed("/volumes"), Synced("/volumes")];
const VOLUME_LARGER: &[Step] = &[Synced("/volumes/traced.raw")];
/// Records that are replaced as a whole.
const STORAGE_JOB: &[Step] = &[Synced("/storage/jobs/"), Renamed("/storage/jobs/"), Synced("/storage/jobs")];
const SYSTEM_JOB: &[Step] = &[Synced("/hypervisor/jobs/"), Renamed("/hypervisor/jobs/"), Synced("/hypervisor/jobs")];
const INTENT: &[Step] =
    &[Synced("/hypervisor/systems/"), Renamed("/hypervisor/systems/"), Synced("/hypervisor/systems")];

/// A call that was made, and what it promises.
struct Made {
    daemon: &'static str,
    method: &'static str,
    /// Words that its request has and no other.
    marker: String,
    promises: &'static [&'static [Step]],
}

pub(super) fn everything_is_synchronised(world: &World) -> Result<()> {
    let units = ["hub", "cluster", "storage", "storage-worker@default", "hypervisor"];
    let pids = units.iter().map(|unit| Ok(world.node.unit_process(unit)?.pid)).collect::<Result<Vec<i32>>>()?;
    let tracer = Tracer::attach(&world.scratch("trace")?, &pids)?;
    let made = write(world);
    let events = tracer.detach()?;
    for Made { daemon, method, marker, promises } in made? {
        let between = between(&events, method, &marker).with_context(|| format!("{method} of {daemon}"))?;
        for steps in promises {
            follows(&between, steps).with_context(|| format!("{method} {marker} was acknowledged too early"))?;
        }
    }
    Ok(())
}

/// Makes the calls, one after the other.
fn write(world: &World) -> Result<Vec<Made>> {
    let mut client = Client { world, made: Vec::new() };
    let mut cluster = Conversation::open(&world.node.socket("cluster"))?;
    for number in 0..WRITES {
        let spec = json!({ "address": format!("10.79.{number}.1/24"), "dhcp": false });
        let name = format!("traced-{number}");
        let request = json!({ "kind": "network", "name": name, "spec": spec });
        let reply = client.call(&mut cluster, "cluster", "acp.cluster.Create", &name, request, &[LOG])?;
        let uid = reply["uid"].as_str().context("a network without uid")?.to_owned();
        let request = json!({ "kind": "network", "uid": uid, "patch": { "nat": false } });
        client.call(&mut cluster, "cluster", "acp.cluster.Update", &uid, request, &[LOG])?;
        let request = json!({ "kind": "network", "uid": uid });
        client.call(&mut cluster, "cluster", "acp.cluster.Delete", &uid, request, &[LOG])?;
    }
    let mut storage = Conversation::open(&world.node.socket("storage"))?;
    let mut storage = |method: &'static str, more: Value, promises: &'static [&'static [Step]]| {
        let mut request = json!({ "pool": "default", "volume": "traced" });
        request.as_object_mut().context("an object")?.extend(more.as_object().cloned().unwrap_or_default());
        client.call(&mut storage, "storage", method, "traced", request, promises)
    };
    storage("acp.storage.CreateVolume", json!({ "size_bytes": 1 << 20, "format": "raw" }), &[VOLUME])?;
    storage("acp.storage.ExpandVolume", json!({ "size_bytes": 2 << 20 }), &[VOLUME_LARGER])?;
    let job = storage("acp.storage.CloneVolume", json!({ "target": "copied" }), &[STORAGE_JOB])?;
    client.wait("storage", &job["job"])?;
    let mut storage = Conversation::open(&world.node.socket("storage"))?;
    for volume in ["copied", "traced"] {
        let request = json!({ "pool": "default", "volume": volume });
        client.call(&mut storage, "storage", "acp.storage.DeleteVolume", volume, request, &[VOLUME_GONE])?;
    }
    let mut hypervisor = Conversation::open(&world.node.socket("hypervisor"))?;
    let mut hypervisor = |method: &'static str, more: Value, promises: &'static [&'static [Step]]| {
        let mut request = json!({ "name": "intended" });
        request.as_object_mut().context("an object")?.extend(more.as_object().cloned().unwrap_or_default());
        let reply = client.call(&mut hypervisor, "hypervisor", method, "intended", request, promises)?;
        client.wait("hypervisor", &reply["job"])
    };
    hypervisor("acp.hypervisor.CreateSystem", json!({ "image": "demo" }), &[LOG, SYSTEM_JOB, INTENT])?;
    hypervisor("acp.hypervisor.StartSystem", json!({}), &[SYSTEM_JOB, INTENT])?;
    hypervisor("acp.hypervisor.StopSystem", json!({}), &[SYSTEM_JOB, INTENT])?;
    hypervisor("acp.hypervisor.DeleteSystem", json!({}), &[SYSTEM_JOB, INTENT])?;
    Ok(client.made)
}

struct Client<'a> {
    world: &'a World,
    made: Vec<Made>,
}

impl Client<'_> {
    fn call(
        &mut self,
        daemon: &mut Conversation,
        noun: &'static str,
        method: &'static str,
        marker: &str,
        request: Value,
        promises: &'static [&'static [Step]],
    ) -> Result<Value> {
        let mut reply = daemon.call(method, request)?;
        ensure!(reply.get("error").is_none(), "{method} answered {reply}");
        self.made.push(Made { daemon: noun, method, marker: marker.to_owned(), promises });
        Ok(reply["parameters"].take())
    }

    fn wait(&self, daemon: &str, job: &Value) -> Result<()> {
        wait_for("a job to end", LIMIT, || {
            let reply =
                self.world.call(daemon, "acp.jobs.Get", json!({ "id": job })).map_err(|error| format!("{error:#}"))?;
            if reply["job"]["state"] == "succeeded" { Ok(()) } else { Err(reply.to_string()) }
        })
    }
}

/// A process that records the system calls of others.
struct Tracer {
    child: Child,
    out: PathBuf,
}

impl Tracer {
    fn attach(dir: &Path, pids: &[i32]) -> Result<Self> {
        let out = dir.join("calls");
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-ttt", "-T", "-s", SHOWN_BYTES, "-e", CALLS, "-e", "signal=none", "-o"]).arg(&out);
        command.args(pids.iter().map(|pid| format!("--attach={pid}")));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot run strace")?;
        let tracer = Self { child, out };
        wait_for("every thread to be traced", LIMIT, || {
            let untraced = |pid: &&i32| !threads(**pid).iter().all(|thread| is_traced(thread));
            pids.iter().find(untraced).map_or(Ok(()), |pid| Err(process::command_line(*pid)))
        })?;
        Ok(tracer)
    }

    /// Lets the processes go on by themselves and answers what they did, in the order in which it ended.
    fn detach(mut self) -> Result<Vec<Event>> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)?;
        self.child.wait().context("strace does not end")?;
        parse(&fs::read_to_string(&self.out).context("strace has written nothing")?)
    }
}

fn threads(pid: i32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn is_traced(thread: &Path) -> bool {
    let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
    // A thread that has ended meanwhile needs no tracer.
    !status.contains("TracerPid:\t0\n")
}

/// A system call that has ended.
#[derive(Clone, Debug)]
struct Event {
    name: String,
    /// As it is written: descriptors with their paths, texts in quotes.
    arguments: String,
    is_done: bool,
    began: f64,
    ended: f64,
}

/// Reads `PID TIME NAME(ARGUMENTS) = RESULT <DURATION>`; a call during which another thread's was told is told in two parts.
fn parse(text: &str) -> Result<Vec<Event>> {
    let mut open = std::collections::BTreeMap::new();
    let mut events = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(3, ' ').filter(|word| !word.is_empty());
        let (Some(pid), Some(rest)) = (words.next(), line.split_once(' ')) else { continue };
        let Some((time, call)) = rest.1.trim_start().split_once(' ') else { continue };
        let time: f64 = time.parse().with_context(|| format!("no time: {line}"))?;
        if let Some(begin) = call.strip_suffix(" <unfinished ...>") {
            open.insert(pid.to_owned(), (time, begin.to_owned()));
        } else if let Some(end) = call.strip_prefix("<... ") {
            let Some((began, begin)) = open.remove(pid) else { continue };
            let (_name, end) = end.split_once(" resumed>").with_context(|| format!("no end: {line}"))?;
            events.extend(event(began, &format!("{begin}{end}"), Some(time)));
        } else {
            events.extend(event(time, call, None));
        }
    }
    events.sort_by(|one, other| one.ended.total_cmp(&other.ended));
    ensure!(!events.is_empty(), "nothing was traced");
    Ok(events)
}

/// One call; `ended` if another line told so.
fn event(began: f64, call: &str, ended: Option<f64>) -> Option<Event> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let took = result.rsplit_once('<').and_then(|(_, took)| took.trim_end_matches('>').parse::<f64>().ok());
    Some(Event {
        name: name.to_owned(),
        arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
        is_done: !result.starts_with('-') && !result.starts_with('?'),
        began,
        ended: ended.or(took.map(|took| began + took))?,
    })
}

impl Event {
    /// The descriptor that it is about, with what it stands for.
    fn descriptor(&self) -> &str {
        self.arguments.split([',', ')']).next().unwrap_or_default()
    }

    fn is(&self, names: &[&str]) -> bool {
        self.is_done && names.contains(&self.name.as_str())
    }

    fn does(&self, step: Step) -> bool {
        match step {
            Synced(path) if path.ends_with('/') => self.is(&["fsync", "fdatasync"]) && self.descriptor().contains(path),
            Synced(path) => self.is(&["fsync", "fdatasync"]) && self.descriptor().ends_with(&format!("{path}>")),
            Renamed(path) => self.is(&["rename", "renameat", "renameat2"]) && self.arguments.contains(path),
            Removed(path) => self.is(&["unlink", "unlinkat"]) && self.arguments.contains(path),
        }
    }
}

/// What happened after the request had arrived and before its reply began to be sent.
fn between(events: &[Event], method: &str, marker: &str) -> Result<Vec<Event>> {
    let is_request = |event: &Event| {
        event.is(&["recvfrom", "recvmsg", "read"])
            && event.arguments.contains(&format!("{method}\\\""))
            && event.arguments.contains(marker)
    };
    let at = events.iter().position(is_request).context("its request was not traced")?;
    let request = &events[at];
    let is_reply = |event: &&Event| {
        event.is(&["sendto", "sendmsg", "write", "writev"])
            && event.descriptor() == request.descriptor()
            && event.began >= request.ended
    };
    let reply = events[at..].iter().find(is_reply).context("its reply was not traced")?;
    let is_between = |event: &&Event| event.began >= request.ended && event.ended <= reply.began;
    Ok(events.iter().filter(is_between).cloned().collect())
}

/// Whether the steps were taken, each begun after the one before had ended.
fn follows(events: &[Event], steps: &[Step]) -> Result<()> {
    let mut after = 0.0;
    for step in steps {
        let Some(event) = events.iter().find(|event| event.began >= after && event.does(*step)) else {
            let calls: Vec<String> =
                events.iter().map(|event| format!("{}({:.80}", event.name, event.arguments)).collect();
            bail!("not {step:?} at its place among {calls:#?}");
        };
        after = event.ended;
    }
    Ok(())
}
