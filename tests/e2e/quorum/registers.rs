//! Objects that many clients read and write at once through all nodes, and whether what they were told is linearizable.
//!
//! A register is an image that is declared and has no file: its source is the one field of free text that may change, and
//! nothing on a host follows from it.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use acp_dev_history::{Action, Recorder, Violation, check};
use acp_dev_testkit::{objects, varlink::Conversation, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::five::{Five, LIMIT, NODES, ask};
use crate::{
    cluster::{Refused, granted},
    soak::Random,
};

/// Clients at once.
pub(super) const WRITERS: usize = 64;
/// Registers that they share.
const REGISTERS: usize = 16;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The pause of a client whose node does not answer.
const PAUSE: Duration = Duration::from_millis(50);

/// The registers and what has been asked of them.
pub(super) struct Registers<'a> {
    five: &'a Five,
    uids: Vec<String>,
    recorder: Recorder,
    /// The last value that was written.
    values: AtomicU64,
    /// When the last write began that was acknowledged, in nanoseconds of the recorder's clock.
    newest: AtomicU64,
    is_over: AtomicBool,
}

/// A client: a connection to one node, and a stream of decisions.
struct Client<'a> {
    registers: &'a Registers<'a>,
    number: usize,
    connection: Option<Conversation>,
    random: Random,
}

impl<'a> Registers<'a> {
    /// Declares them, with a value each.
    pub(super) fn declare(five: &'a Five) -> Result<Self> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        objects::ensure(&five.member(1).layout, "pool", "default", &["pool", "create", "default"])?;
        let mut registers = Self {
            five,
            uids: Vec::new(),
            recorder: Recorder::default(),
            values: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        };
        for number in 0..REGISTERS {
            let (begun, value) = (registers.recorder.now(), registers.next_value());
            let spec = json!({
                "node": "n1", "pool": "default", "format": "raw", "size_bytes": 512, "virtual_size_bytes": 512,
                "sha256": "0".repeat(64), "source": source(value),
            });
            let asked = json!({ "kind": "image", "name": format!("register-{run}-{number}"), "spec": spec });
            let made = five.call(1, "cluster", "acp.cluster.Create", asked)?;
            registers.uids.push(made["uid"].as_str().context("an object has a uid")?.to_owned());
            registers.recorder.answered(number as u64, 0, begun, Action::Write(value));
        }
        Ok(registers)
    }

    fn next_value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Runs `work` while the clients read and write, each through its own node.
    pub(super) fn beside<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        thread::scope(|scope| {
            for number in 0..WRITERS {
                let random = Random::stream(1, number as u64);
                scope.spawn(move || Client { registers: self, number, connection: None, random }.run());
            }
            let worked = work(self);
            self.is_over.store(true, Ordering::Relaxed);
            worked
        })
    }

    /// Waits until a write is acknowledged that was begun from now on; answers how long that took.
    pub(super) fn wait_acknowledged(&self, limit: Duration) -> Result<Duration> {
        let since = self.recorder.now();
        wait_for("a write to be acknowledged", limit, || {
            let newest = Duration::from_nanos(self.newest.load(Ordering::Relaxed));
            if newest > since { Ok(()) } else { Err(format!("the newest is {:?} old", self.recorder.now() - newest)) }
        })?;
        Ok(self.recorder.now() - since)
    }

    /// Waits until the history is this long.
    pub(super) fn wait_operations(&self, count: usize) -> Result<()> {
        wait_for("the history to be long enough", LIMIT * 4, || {
            let recorded = self.recorder.len();
            if recorded >= count { Ok(()) } else { Err(format!("{recorded} operations")) }
        })
    }

    /// Reads every register once more on every node, and judges what all were told. Nothing disturbs any more.
    pub(super) fn judge(&self) -> Result<usize> {
        self.five.wait_agreed()?;
        for node in NODES {
            let mut connection = self.five.connect(node)?;
            for register in 0..REGISTERS {
                let begun = self.recorder.now();
                let asked = json!({ "kind": "image", "uid": self.uids[register], "linearizable": true });
                let object = granted(ask(&mut connection, LIMIT, "acp.cluster.Get", &asked)?)?;
                self.recorder.answered(register as u64, 0, begun, Action::Read(Some(value_of(&object["object"])?)));
            }
        }
        let history = self.recorder.history();
        check(&history).map_err(|violation| {
            let written = self.log_of(&violation).unwrap_or_else(|error| format!("(no log: {error:#})"));
            anyhow::anyhow!("the history is not linearizable: {violation}\nthe log has: {written}")
        })?;
        Ok(history.len())
    }

    /// The values that the log has for the register of a violation, as far as the violation shows them, in the log's order.
    fn log_of(&self, violation: &Violation) -> Result<String> {
        let uid = &self.uids[usize::try_from(violation.object)?];
        let shown: Vec<u64> = violation.around.iter().filter_map(|one| one.action.value()).collect();
        let mut log = self.five.connect(1)?;
        log.send(&json!({ "method": "acp.cluster.ReadLog", "parameters": { "from": 1 }, "more": true }))?;
        let mut found = Vec::new();
        loop {
            let reply = log.receive()?.context("the log ended early")?;
            for entry in reply["parameters"]["entries"].as_array().context("entries")? {
                let (index, action) = (&entry["entry"]["index"], &entry["entry"]["action"]);
                let source = action["patch"]["source"].as_str().unwrap_or_default();
                let value = source.strip_prefix('v').and_then(|digits| digits.parse().ok());
                if action["uid"] == **uid && value.is_some_and(|value| shown.contains(&value)) {
                    let refused = entry["refused"].as_str().map(|why| format!(" refused: {why}")).unwrap_or_default();
                    found.push(format!("{index} {source}{refused}"));
                }
            }
            if reply["continues"] != true {
                return Ok(found.join(", "));
            }
        }
    }

    /// Ends the registers.
    pub(super) fn delete(self) -> Result<()> {
        for uid in &self.uids {
            self.five.call(1, "cluster", "acp.cluster.Delete", json!({ "kind": "image", "uid": uid }))?;
        }
        Ok(())
    }
}

fn source(value: u64) -> String {
    format!("v{value}")
}

fn value_of(object: &Value) -> Result<u64> {
    let source = object["spec"]["source"].as_str().with_context(|| format!("no source in {object}"))?;
    source.strip_prefix('v').and_then(|digits| digits.parse().ok()).with_context(|| format!("{source:?} is no value"))
}

impl Client<'_> {
    fn run(mut self) {
        while !self.registers.is_over.load(Ordering::Relaxed) {
            let register = usize::try_from(self.random.below(REGISTERS as u64)).unwrap_or_default();
            let done = match self.random.below(10) {
                0..=3 => self.write(register),
                4..=7 => self.read(register),
                _ => self.swap(register),
            };
            // Nobody is there, or the connection has ended: the node was killed.
            if done.is_err() {
                self.connection = None;
                thread::park_timeout(PAUSE);
            }
        }
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Result<Result<Value, Refused>> {
        ask(self.connected()?, PATIENCE, method, parameters)
    }

    fn connected(&mut self) -> Result<&mut Conversation> {
        Ok(match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.registers.five.connect(NODES[self.number % NODES.len()])?),
        })
    }

    fn read(&mut self, register: usize) -> Result<()> {
        let begun = self.registers.recorder.now();
        let asked = json!({ "kind": "image", "uid": self.registers.uids[register], "linearizable": true });
        if let Ok(reply) = self.ask("acp.cluster.Get", &asked)? {
            self.keep(register, begun, Action::Read(Some(value_of(&reply["object"])?)));
        }
        Ok(())
    }

    fn write(&mut self, register: usize) -> Result<()> {
        let value = self.registers.next_value();
        let asked =
            json!({ "kind": "image", "uid": self.registers.uids[register], "patch": { "source": source(value) } });
        self.change(register, &asked, Action::Write(value), None)
    }

    /// Changes what this node's replica has: whoever was faster is in the way.
    fn swap(&mut self, register: usize) -> Result<()> {
        let uid = self.registers.uids[register].clone();
        let Ok(seen) = self.ask("acp.cluster.Get", &json!({ "kind": "image", "uid": uid }))? else { return Ok(()) };
        let (from, to) = (value_of(&seen["object"])?, self.registers.next_value());
        let version = &seen["object"]["version"];
        let asked = json!({ "kind": "image", "uid": uid, "patch": { "source": source(to) }, "if_version": version });
        let refused = Action::Swap { from, to, done: false };
        self.change(register, &asked, Action::Swap { from, to, done: true }, Some(refused))
    }

    fn change(&mut self, register: usize, asked: &Value, done: Action, refused: Option<Action>) -> Result<()> {
        // Whoever does not reach its node has asked nothing.
        self.connected()?;
        let begun = self.registers.recorder.now();
        let came_to = self.ask("acp.cluster.Update", asked);
        match came_to {
            Ok(Ok(_done)) => {
                self.keep(register, begun, done);
                let begun = u64::try_from(begun.as_nanos()).unwrap_or(u64::MAX);
                self.registers.newest.fetch_max(begun, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(failure)) => {
                match refused {
                    Some(refused) if failure.code == "Conflict" => self.keep(register, begun, refused),
                    // It says that nothing was done, which is believed: a value that appears all the same betrays it.
                    _ if failure.changed == "none" => {}
                    _ => self.unknown(register, begun, done),
                }
                thread::park_timeout(PAUSE);
                Ok(())
            }
            Err(lost) => {
                self.unknown(register, begun, done);
                Err(lost)
            }
        }
    }

    fn keep(&self, register: usize, begun: Duration, action: Action) {
        self.registers.recorder.answered(register as u64, self.number as u64 + 1, begun, action);
    }

    fn unknown(&self, register: usize, begun: Duration, action: Action) {
        self.registers.recorder.unknown(register as u64, self.number as u64 + 1, begun, action);
    }
}

/// The history has to be as long as a defect needs to show.
pub(super) fn is_long_enough(operations: usize) -> Result<()> {
    ensure!(operations >= OPERATIONS_MIN, "the history has only {operations} operations");
    Ok(())
}

/// What a history has at least.
pub(super) const OPERATIONS_MIN: usize = 10_000;
