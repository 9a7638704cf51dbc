//! S1: agents killed, frozen and upgraded under calls, an open console and a bulk stream.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{node::Said, process::Identity, varlink::Conversation, wait_for};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::{bulk::Bulk, traffic::Traffic};
use crate::{
    cluster::{At, Cluster, console_answers},
    harness::Case,
    world::LIMIT,
};

/// The cases of this line.
pub(crate) const CASES: &[Case<Cluster>] = &[
    Case { name: "nodes::s1_killed_agents_are_back_and_nothing_is_lost_without_a_word", run: killed },
    Case { name: "nodes::s1_upgraded_agents_leave_calls_consoles_and_guests_alone", run: upgraded },
    Case { name: "nodes::s1_a_frozen_agent_keeps_callers_no_longer_than_they_wait", run: frozen },
];

/// How long calls may find nobody after an agent was killed: it is started again, and dials.
const BACK_LIMIT: Duration = Duration::from_secs(5);
/// How long a stream may say nothing about the end of the agent that carried it.
const TOLD_LIMIT: Duration = Duration::from_secs(2);
/// How long callers of a frozen agent wait, and what `acpctl` needs besides.
const PATIENCE: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(2);
/// The watchdog of units as shipped, and how long the one that is killed by it may be away.
const WATCHDOG: Duration = Duration::from_secs(15);
/// How `acpctl` ends when its time is over, and when nobody is there.
const NO_ANSWER: [i32; 2] = [6, 75];
/// What is behind the end of the program of the new build.
const MARK: &[u8] = b"acp-new-build";

/// The caller's own agent, then the far one, then both at once.
fn killed(cluster: &Cluster) -> Result<()> {
    let guest = cluster.guest()?;
    let mut console = cluster.console(At::N2)?;
    console_answers(&mut console, "before", 30)?;
    let traffic = Traffic::new(cluster, At::N2, At::N1);
    let ((), tally) = traffic.beside(|| {
        for victims in [&[At::N2][..], &[At::N1], &[At::N1, At::N2]] {
            let bulk = Bulk::receive(cluster, At::N2, At::N1)?;
            let old = victims.iter().map(|at| cluster.unit(*at, "agent")).collect::<Result<Vec<Identity>>>()?;
            let at = Instant::now();
            old.iter().try_for_each(|agent| agent.signal(Signal::KILL))?;
            bulk.wait_cut(TOLD_LIMIT).with_context(|| format!("{victims:?} were killed"))?;
            traffic.wait_answers(10)?;
            ensure!(at.elapsed() <= BACK_LIMIT, "calls were answered again {:?} after {victims:?}", at.elapsed());
            wait_for("other processes to be the agents", LIMIT, || {
                let is_new = |(at, old): (&At, &Identity)| cluster.unit(*at, "agent").is_ok_and(|new| new != *old);
                if victims.iter().zip(&old).all(is_new) { Ok(()) } else { Err("they are the same") }
            })?;
        }
        console_answers(&mut console, "after", 40)
    })?;
    tally.is_honest()?;
    guest.is_unaffected(cluster)
}

/// A restart with another program: agents are drained, and clients that retry see nothing of it.
fn upgraded(cluster: &Cluster) -> Result<()> {
    let guest = cluster.guest()?;
    let mut console = cluster.console(At::N2)?;
    let (program, kept) = (cluster.bin().join("acp-agent"), cluster.scratch("upgrade")?.join("acp-agent"));
    fs::copy(&program, &kept)?;
    let traffic = Traffic::new(cluster, At::N2, At::N1);
    let ((), tally) = traffic.beside(|| {
        for (build, is_marked) in [("new", true), ("old", false)] {
            install(&kept, &program, is_marked)?;
            for at in [At::N1, At::N2] {
                let old = cluster.unit(at, "agent")?;
                let asking = thread::scope(|scope| {
                    let asking = scope.spawn(|| cluster.acpctl(At::N2, &["--node", "n1", "system", "list"]));
                    cluster.run(at, &["service", "restart", "agent"])?;
                    asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })?;
                ensure!(asking.status == 0, "a call beside the restart of {at:?} ended with {asking:?}");
                let new = cluster.unit(at, "agent")?;
                ensure!(new != old && has_mark(new)? == is_marked, "{at:?} does not run the {build} build");
            }
            traffic.wait_answers(10)?;
            console_answers(&mut console, build, 50)?;
        }
        Ok(())
    })?;
    tally.is_honest()?;
    guest.is_unaffected(cluster)
}

/// Puts the program, or one with a mark behind its end, where it was, by a rename as package managers do.
fn install(kept: &Path, program: &Path, is_marked: bool) -> Result<()> {
    let aside = program.with_extension("new");
    fs::copy(kept, &aside)?;
    if is_marked {
        File::options().append(true).open(&aside)?.write_all(MARK)?;
    }
    fs::rename(&aside, program).context("cannot install the agent")
}

fn has_mark(agent: Identity) -> Result<bool> {
    Ok(fs::read(format!("/proc/{}/exe", agent.pid))?.ends_with(MARK))
}

/// The far agent stands still until its watchdog ends it; calls that do not need it go on.
fn frozen(cluster: &Cluster) -> Result<()> {
    let guest = cluster.guest()?;
    let bulk = Bulk::receive(cluster, At::N2, At::N1)?;
    let agent = cluster.unit(At::N1, "agent")?;
    let others = Traffic::new(cluster, At::N2, At::N3);
    let ((), tally) = others.beside(|| {
        let at = Instant::now();
        agent.signal(Signal::STOP)?;
        for words in [&["system", "list"][..], &["network", "delete", "none", "--yes"], &["service", "list"]] {
            let started = Instant::now();
            let Said { status, stderr, .. } =
                cluster.acpctl(At::N2, &[&["--node", "n1", "--timeout", "1s"], words].concat())?;
            ensure!(NO_ANSWER.contains(&status), "acpctl {words:?} ended with {status}: {stderr}");
            ensure!(started.elapsed() <= PATIENCE + GRACE, "acpctl {words:?} took {:?}", started.elapsed());
        }
        // Root of n1 needs no agent on n1 itself.
        cluster.run(At::N1, &["system", "list"])?;
        bulk.wait_cut(WATCHDOG + BACK_LIMIT)?;
        wait_for("the frozen agent to be replaced", WATCHDOG * 2, || {
            let replaced = cluster.unit(At::N1, "agent").is_ok_and(|new| new != agent);
            if replaced { Ok(()) } else { Err("it is there") }
        })?;
        let asked = json!({ "service": "cluster", "node": "n1", "key": cluster.root_key(At::N2)? });
        wait_for("calls to n1 to be answered again", BACK_LIMIT * 2, || match cluster.ask_to_open(At::N2, &asked) {
            Ok(Ok(conversation)) => answers(conversation),
            other => Err(format!("{other:?}")),
        })?;
        ensure!(at.elapsed() <= WATCHDOG * 2, "that took {:?}", at.elapsed());
        Ok(())
    })?;
    tally.is_unharmed().context("calls between the two others")?;
    guest.is_unaffected(cluster)
}

fn answers(mut conversation: Conversation) -> Result<(), String> {
    let reply = conversation.call("acp.cluster.GetStatus", json!({})).map_err(|error| format!("{error:#}"))?;
    if reply["error"].is_null() { Ok(()) } else { Err(reply.to_string()) }
}
