//! S5: the clock of one voter is a day or an hour off, forwards and back, and jumps while it leads and has a lease.
//!
//! Its daemons that look at the wall clock run under libfaketime, each behind a script in the place of its program. Clocks that
//! nobody can set, by which leases count, are left alone, as they are when an operator sets the time.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    five::{FAILOVER_LIMIT, Five, HOST, LIMIT},
    registers::Registers,
    s2_cuts::{FLOATING, Guests},
};
use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] =
    &[Case { name: "quorum::s5_a_clock_that_is_off_ends_nothing_and_unseats_nobody", run: clocks }];

/// Daemons that look at the wall clock.
const DAEMONS: [&str; 4] = ["hub", "agent", "cluster", "hypervisor"];
/// Of Debian's package libfaketime.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// How far the clock is off in turn, as libfaketime is told and in seconds.
const JUMPS: [(&str, i64); 4] = [("+1d", 86_400), ("-1d", -86_400), ("+1h", 3_600), ("-1h", -3_600)];
/// How long certificates of nodes live.
const CERTIFICATE_MS: u64 = 48 * 3_600_000;
/// How far times may be from the truth on a busy machine.
const TOLERANCE_MS: u64 = 15_000;

fn clocks(five: &Five) -> Result<()> {
    // Its daemons are restarted at once for this, which on a busy machine takes longer than a lease: guests come after.
    let clock = Clock::take(five, HOST)?;
    let drilled = Guests::start(five).and_then(|guests| {
        jumps(five, &clock, &guests)?;
        guests.end(five)
    });
    let given_back = clock.give_back(five);
    drilled.and(given_back)
}

fn jumps(five: &Five, clock: &Clock, guests: &Guests) -> Result<()> {
    five.run(1, &["node", "token", "create", "--lifetime", "30m"])?;
    let tokens = tokens(five)?;
    // It has just come to lead when it looks for the first time what has ended by its clock.
    let (signed, from) = (certificate_until(five)?, five.status(1)?["index"].as_u64().context("an index")?);
    clock.jump(five, JUMPS[0].0, JUMPS[0].1)?;
    five.hand_over_to(HOST)?;
    // By its clock half of its certificate's life is over: the new one begins when the others say that it is now.
    wait_for("its certificate to be renewed", LIMIT, || {
        let now = certificate_until(five).map_err(|error| format!("{error:#}"))?;
        if now != signed { Ok(()) } else { Err(format!("it ends at {now}")) }
    })?;
    let (until, at_most) = (certificate_until(five)?, now_ms()? + CERTIFICATE_MS + TOLERANCE_MS);
    ensure!(until <= at_most, "the certificate ends at {until}, and not before {at_most}: nobody will accept it");
    let term = five.quorum(five.leader()?)?.term;
    let registers = Registers::declare(five)?;
    registers.beside(|registers| {
        for (offset, seconds) in JUMPS {
            clock.jump(five, offset, seconds)?;
            let took = registers.wait_acknowledged(LIMIT)?;
            ensure!(took <= FAILOVER_LIMIT, "writes were out for {took:?} at {offset}");
            guests.run_on().with_context(|| format!("at {offset}"))?;
            if seconds == JUMPS[0].1 {
                wait_for("the leader to forget what has ended by its clock", LIMIT, || {
                    let log = entries(five, from).map_err(|error| format!("{error:#}"))?;
                    let has = log.iter().any(|entry| entry["action"].to_string().contains("prune"));
                    if has { Ok(()) } else { Err(format!("{} entries and no such one", log.len())) }
                })?;
            }
        }
        clock.jump(five, "+0", 0)
    })?;
    let quorum = five.quorum(five.leader()?)?;
    ensure!(quorum.term == term, "a clock has unseated the leader of term {term}: {quorum:?}");
    times_are_right(&entries(five, from)?)?;
    let left = self::tokens(five)?;
    ensure!(left == tokens, "of the tokens {tokens:?} there are left {left:?}");
    let leases = five.json(1, &["lease", "list"])?;
    ensure!(leases.to_string().contains(FLOATING), "the lease has ended: {leases}");
    registers.judge()?;
    registers.delete()
}

/// When the node's certificate ends.
fn certificate_until(five: &Five) -> Result<u64> {
    let status = five.call(HOST, "agent", "acp.agent.GetStatus", json!({}))?;
    status["certificate_until_ms"].as_u64().with_context(|| format!("no certificate: {status}"))
}

/// The ids of the tokens that count.
fn tokens(five: &Five) -> Result<Vec<String>> {
    let listed = five.call(1, "hub", "acp.hub.ListTokens", json!({}))?;
    let ids = listed["tokens"].as_array().into_iter().flatten().map(|token| token["uid"].to_string());
    let ids: Vec<String> = ids.collect();
    ensure!(!ids.is_empty(), "there is no token: {listed}");
    Ok(ids)
}

/// The log's entries after this index.
fn entries(five: &Five, from: u64) -> Result<Vec<Value>> {
    let mut log = five.connect(1)?;
    log.send(&json!({ "method": "acp.cluster.ReadLog", "parameters": { "from": from + 1 }, "more": true }))?;
    let mut found = Vec::new();
    loop {
        let reply = log.receive()?.context("the log ended early")?;
        let entries = reply["parameters"]["entries"].as_array().with_context(|| format!("no entries in {reply}"))?;
        found.extend(entries.iter().map(|entry| entry["entry"].clone()));
        if reply["continues"] != true {
            return Ok(found);
        }
    }
}

/// They never go back, and the last ones are of now.
fn times_are_right(log: &[Value]) -> Result<()> {
    let times: Vec<u64> = log.iter().filter_map(|entry| entry["time"].as_u64()).collect();
    ensure!(times.len() == log.len() && !times.is_empty(), "entries without a time: {:?}", log.first());
    ensure!(times.windows(2).all(|pair| pair[0] <= pair[1]), "time went back in the log");
    let (last, now) = (times[times.len() - 1], now_ms()?);
    ensure!(last <= now + TOLERANCE_MS && last + 120_000 >= now, "the last entry is of {last}, and it is {now}");
    Ok(())
}

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// The wall clock of one node.
struct Clock {
    node: usize,
    bin: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// From now on it can be set. Nodes without a file for it have the machine's.
    fn take(five: &Five, node: usize) -> Result<Self> {
        ensure!(Path::new(LIBRARY).exists(), "{LIBRARY} is missing: apt-get install libfaketime");
        let layout = &five.member(node).layout;
        let clock = Self { node, bin: layout.bin().to_owned(), file: layout.etc().join("clock") };
        let real = clock.bin.join("real");
        fs::create_dir_all(&real)?;
        for daemon in DAEMONS {
            let (program, aside) = (format!("acp-{daemon}"), clock.bin.join("new"));
            fs::hard_link(clock.bin.join(&program), real.join(&program))?;
            fs::write(&aside, SCRIPT.replace("LIBRARY", LIBRARY))?;
            fs::set_permissions(&aside, fs::Permissions::from_mode(0o755))?;
            fs::rename(&aside, clock.bin.join(&program))?;
        }
        clock.set("+0")?;
        clock.restart(five)?;
        Ok(clock)
    }

    fn set(&self, offset: &str) -> Result<()> {
        let aside = self.file.with_extension("new");
        fs::write(&aside, format!("{offset}\n"))?;
        fs::rename(&aside, &self.file).context("cannot set the clock")
    }

    /// Sets it, and waits until the node's hub goes by it.
    fn jump(&self, five: &Five, offset: &str, seconds: i64) -> Result<()> {
        self.set(offset)?;
        wait_for(&format!("the clock to be {offset}"), LIMIT, || {
            let backup = five.call(self.node, "hub", "acp.hub.Backup", json!({}));
            let shown = backup.map_err(|error| format!("{error:#}"))?["time_ms"].as_u64().unwrap_or(0);
            let now = now_ms().map_err(|error| format!("{error:#}"))?;
            let is_off = shown.abs_diff(now.saturating_add_signed(seconds * 1_000)) <= TOLERANCE_MS;
            if is_off { Ok(()) } else { Err(format!("it shows {shown}, and it is {now}")) }
        })
    }

    /// It is the machine's again.
    fn give_back(self, five: &Five) -> Result<()> {
        for daemon in DAEMONS {
            let program = format!("acp-{daemon}");
            fs::rename(self.bin.join("real").join(&program), self.bin.join(&program))?;
        }
        fs::remove_dir(self.bin.join("real"))?;
        fs::remove_file(&self.file)?;
        self.restart(five)
    }

    fn restart(&self, five: &Five) -> Result<()> {
        thread::scope(|scope| {
            let one = |daemon| scope.spawn(move || five.run(self.node, &["service", "restart", daemon]).map(drop));
            let all = DAEMONS.map(one);
            all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }
}

/// In the place of a daemon's program.
const SCRIPT: &str = r#"#!/bin/sh
clock="$ACP_CONFIG_DIR/clock"
if [ -e "$clock" ]; then
    export LD_PRELOAD=LIBRARY FAKETIME_TIMESTAMP_FILE="$clock" FAKETIME_CACHE_DURATION=1
    export FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
fi
exec "$ACP_BIN_DIR/real/${0##*/}" "$@"
"#;
