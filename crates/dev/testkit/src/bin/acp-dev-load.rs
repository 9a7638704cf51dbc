//! `acp-dev-load RUN STATE LIFE SYSTEMS`: looks at a node that was started again, then writes to it until it dies. What it finds, asks
//! for and hears goes to standard output, a line each, which is drained before the next call is made: a serial port's lines
//! have then left the machine.

use std::{
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use acp_dev_testkit::{
    audit::Audit,
    ledger::Line,
    load::{self, Load},
    varlink, wait_for,
};
use anyhow::{Context as _, Result};
use serde_json::json;

/// How long the node's daemons may take to answer: debug builds on an emulated processor.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let out = Mutex::new(std::io::stdout());
    let say = |line: Line| {
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(out, "{line}").and_then(|()| out.flush()).expect("whoever reads is there as long as the machine");
        if rustix::termios::isatty(&*out) {
            rustix::termios::tcdrain(&*out).expect("a terminal drains");
        }
    };
    match work(&say) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(Line::Wrong(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn work(say: load::Say<'_>) -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mut next = || arguments.next().context("arguments: RUN STATE LIFE SYSTEMS");
    let (run, state, life, systems) = (next()?, next()?, next()?, next()?);
    let number = |text: PathBuf| text.to_str().and_then(|text| text.parse().ok()).context("LIFE, SYSTEMS: no number");
    let load = Load { run: run.clone(), life: number(life)?, networks: 3, volumes: 1, systems: number(systems)? };
    let audit = Audit { run: run.clone(), state, with_systems: load.systems > 0 };
    ready(&audit)?;
    let found = audit.run(say)?;
    load::clear(&run, &found, say)?;
    load.run(say);
    Ok(())
}

/// Waits until the daemons answer, and for the pool, which is made in the first life.
fn ready(audit: &Audit) -> Result<()> {
    let socket = |daemon: &str| audit.run.join(format!("{daemon}.sock"));
    for daemon in audit.daemons() {
        wait_for(&format!("{daemon} to answer"), ANSWER_LIMIT, || {
            varlink::call(&socket(daemon), "acp.daemon.GetHealth", json!({})).map_err(|error| format!("{error:#}"))
        })?;
    }
    wait_for("the pool to be there", ANSWER_LIMIT, || {
        let made = varlink::call(&socket("storage"), "acp.storage.CreatePool", json!({ "name": "default" }));
        match made {
            Err(error) if !format!("{error:#}").contains("AlreadyExists") => Err(format!("{error:#}")),
            _made_or_there => Ok(()),
        }
    })
}
