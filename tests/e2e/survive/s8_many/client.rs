//! Clients that ask for systems and wait for what comes of it: programs and sockets, all at once.

use std::thread;

use acp_dev_testkit::varlink::Conversation;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{CLIENTS, NETWORK};
use crate::world::World;

/// What a client was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
}

/// What became of a request; everything but a refusal is a failure of the test.
pub(super) type Outcome = Result<Option<Refusal>>;

/// One of the clients.
pub(super) struct Client<'a> {
    world: &'a World,
    is_program: bool,
}

impl Client<'_> {
    pub(super) fn create(&self, name: &str, bytes: u64) -> Outcome {
        if self.is_program {
            let memory = format!("{}MiB", bytes >> 20);
            let create = ["system", "create", name, "--image", "demo", "--memory", &memory, "--network", NETWORK];
            return self.program(&[&create[..], &["--wait"]].concat());
        }
        let request = json!({ "name": name, "image": "demo", "memory_bytes": bytes, "networks": [NETWORK] });
        self.socket("CreateSystem", request)
    }

    pub(super) fn act(&self, verb: &str, name: &str) -> Outcome {
        if self.is_program {
            return self.program(&["--yes", "system", verb, name, "--wait"]);
        }
        let method = match verb {
            "start" => "StartSystem",
            "stop" => "StopSystem",
            "delete" => "DeleteSystem",
            other => bail!("{other} is none of this test's verbs"),
        };
        self.socket(method, json!({ "name": name }))
    }

    fn program(&self, arguments: &[&str]) -> Outcome {
        let said = self.world.node.acpctl(&[&["-o", "json"], arguments].concat())?;
        if said.status == 0 {
            return Ok(None);
        }
        let failure: Value = serde_json::from_str(&said.stderr).with_context(|| format!("{arguments:?}: {said:?}"))?;
        Ok(Some(Refusal { code: text(&failure["code"]), message: text(&failure["message"]) }))
    }

    /// Calls the method and waits for the job that it began.
    fn socket(&self, method: &str, parameters: Value) -> Outcome {
        let mut daemon = Conversation::open(&self.world.node.socket("hypervisor"))?;
        let reply = daemon.call(&format!("acp.hypervisor.{method}"), parameters)?;
        if let Some(error) = reply["error"].as_str() {
            let code = error.trim_start_matches("acp.error.").to_owned();
            return Ok(Some(Refusal { code, message: text(&reply["parameters"]["message"]) }));
        }
        let job = &reply["parameters"]["job"];
        ensure!(job.is_string(), "{method} began no job: {reply}");
        daemon.send(&json!({ "method": "acp.jobs.Watch", "parameters": { "id": job }, "more": true }))?;
        loop {
            let reply = daemon.receive()?.with_context(|| format!("the job of {method} is not told any more"))?;
            let job = &reply["parameters"]["job"];
            match job["state"].as_str() {
                Some("succeeded") => return Ok(None),
                Some("running") => {}
                _ => {
                    let (code, message) = (text(&job["error"]["code"]), text(&job["error"]["message"]));
                    ensure!(!message.is_empty(), "the job of {method} ended as {reply}");
                    return Ok(Some(Refusal { code, message }));
                }
            }
        }
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn done(what: &str, outcome: Outcome) -> Result<()> {
    match outcome.with_context(|| what.to_owned())? {
        None => Ok(()),
        Some(refusal) => bail!("{what}: {refusal:?}"),
    }
}

/// Has every client work at once, each with its number; the first failure is answered.
pub(super) fn together(world: &World, work: impl Fn(&Client<'_>, usize) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let client = |number: usize| move || work(&Client { world, is_program: number.is_multiple_of(2) }, number);
        let threads: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        let ends: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        ends.into_iter().collect()
    })
}
