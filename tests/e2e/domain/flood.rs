//! S5: one reporter of one node says more than there is room for.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use acp_dev_testkit::{process::pss_bytes, varlink::Conversation, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{GRACE, IN_STEP_MAX};
use crate::quorum::{
    Five,
    five::{HOST, LIMIT},
};

/// How long it lasts.
const LENGTH: Duration = Duration::from_secs(8);
/// Changes in one call.
const BATCH: u64 = 500;
/// Slots that change by turns.
const SLOTS: u64 = 5_000;
/// What it has to be at least to be a flood.
const CHANGES_PER_SECOND_MIN: u64 = 10_000;
/// Who listens to all of it, and who says something beside it that is not to wait.
const LISTENER: usize = 2;
const OTHER: usize = 1;
/// Words of somebody else that are measured.
const WORDS: u64 = 40;
/// How long such a word is on its way, as the median. The promise, without a flood, is 2 ms, in programs as they are shipped and on a
/// machine to itself.
const MEDIAN_MAX: Duration = Duration::from_millis(300);
/// What the service may take more than before: each slot a few times over, as it is said, replicated and heard.
const MEMORY_GROWTH_MAX: u64 = 48 << 20;

/// Says slots as root of a node.
struct Publisher {
    conversation: Conversation,
    incarnation: u64,
    sequence: u64,
}

impl Publisher {
    fn new(five: &Five, node: usize) -> Result<Self> {
        let incarnation = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        Ok(Self { conversation: five.connect(node)?, incarnation, sequence: 0 })
    }

    fn publish(&mut self, reports: &[Value], replace: bool) -> Result<()> {
        self.sequence += 1;
        let asked = json!({
            "incarnation": self.incarnation, "sequence": self.sequence, "reports": reports, "replace": replace,
        });
        let reply = self.conversation.call("acp.cluster.Publish", asked)?;
        ensure!(reply["error"].is_null(), "{reply}");
        Ok(())
    }
}

/// The identity of a job that is said: of version 7, variant 1, the rest counts.
fn uid(number: u64) -> String {
    format!("01900000-0000-7000-8000-{number:012x}")
}

/// A job as its owner reports it: an object of ordinary size that needs no entry in the log.
fn job(number: u64, percent: u64) -> Value {
    let uid = uid(number);
    let data = json!({
        "id": uid, "verb": "flood", "owner": "flood", "object_kind": "volume", "object_name": format!("flood/{number}"),
        "state": "running", "step": "being measured", "percent": percent, "cancellable": false, "started_ms": 1,
    });
    json!({ "kind": "job", "uid": uid, "name": uid, "facet": "meta", "data": data })
}

/// How far a job is by the word of a node; nothing if it does not know it.
fn percent(conversation: &mut Conversation, number: u64) -> Result<Option<u64>> {
    let reply = conversation.call("acp.cluster.Get", json!({ "kind": "job", "uid": uid(number), "here": false }))?;
    Ok(reply["parameters"]["object"]["slots"][0]["data"]["percent"].as_u64())
}

/// Publishes as fast as it is taken, until it is told to stop; answers how far the jobs are said to be in the end.
fn flood(five: &Five, stop: &AtomicBool, changes: &AtomicU64) -> Result<u64> {
    let mut publisher = Publisher::new(five, HOST)?;
    let (mut round, mut first) = (1, 0);
    while !stop.load(Ordering::Relaxed) {
        let jobs: Vec<Value> = (first..first + BATCH).map(|number| job(number, round)).collect();
        publisher.publish(&jobs, false)?;
        changes.fetch_add(BATCH, Ordering::Relaxed);
        first = (first + BATCH) % SLOTS;
        round += u64::from(first == 0);
    }
    for first in (0..SLOTS).step_by(usize::try_from(BATCH)?) {
        let jobs: Vec<Value> = (first..first + BATCH).map(|number| job(number, round + 1)).collect();
        publisher.publish(&jobs, false)?;
    }
    Ok(round + 1)
}

/// How long words of another node's reporter are on their way to the listener while the flood lasts, sorted.
fn words(five: &Five) -> Result<Vec<Duration>> {
    let number = SLOTS + 1;
    let (mut publisher, mut listener) = (Publisher::new(five, OTHER)?, five.connect(LISTENER)?);
    let mut took = Vec::new();
    for word in 1..=WORDS {
        let since = Instant::now();
        publisher.publish(&[job(number, word)], false)?;
        wait_for(&format!("word {word} of n{OTHER} on n{LISTENER}"), LIMIT, || {
            match percent(&mut listener, number).map_err(|error| format!("{error:#}"))? {
                Some(heard) if heard == word => Ok(()),
                heard => Err(format!("{heard:?}")),
            }
        })?;
        took.push(since.elapsed());
        thread::park_timeout(LENGTH / u32::try_from(WORDS * 2)?);
    }
    publisher.publish(&[], true)?;
    took.sort_unstable();
    Ok(took)
}

fn memory(five: &Five, node: usize) -> Result<u64> {
    pss_bytes(five.unit(node, "cluster")?.pid)
}

pub(super) fn one_reporter(five: &Five) -> Result<()> {
    super::create(five, "beside")?;
    let before = [HOST, LISTENER].map(|node| memory(five, node));
    let (stop, changes, began) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    let (last, took, started) = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(five, &stop, &changes));
        let took = words(five);
        // A reporter of the very node that floods is not to wait either.
        let since = Instant::now();
        let state = five
            .run(HOST, &["system", "start", "beside", "--wait"])
            .and_then(|_said| super::wait_state(five, &[LISTENER], "beside", "running", IN_STEP_MAX + GRACE));
        let started = since.elapsed();
        while began.elapsed() < LENGTH {
            thread::park_timeout(LENGTH.saturating_sub(began.elapsed()));
        }
        let rate = changes.load(Ordering::Relaxed) / began.elapsed().as_secs().max(1);
        stop.store(true, Ordering::Relaxed);
        let last = flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        state?;
        ensure!(rate >= CHANGES_PER_SECOND_MIN, "{rate} changes a second are no flood");
        anyhow::Ok((last, took?, started))
    })?;
    ensure!(took[took.len() / 2] <= MEDIAN_MAX, "words of n{OTHER} took {took:?}; the system's state {started:?}");
    let mut listener = five.connect(LISTENER)?;
    for number in [0, SLOTS / 2, SLOTS - 1] {
        wait_for(&format!("the last word on job {number}"), LIMIT, || {
            match percent(&mut listener, number).map_err(|error| format!("{error:#}"))? {
                Some(heard) if heard == last => Ok(()),
                heard => Err(format!("{heard:?}, and not {last}")),
            }
        })?;
    }
    for (node, before) in [HOST, LISTENER].into_iter().zip(before) {
        let (before, after) = (before?, memory(five, node)?);
        ensure!(after <= before + MEMORY_GROWTH_MAX, "cluster of n{node} grew from {before} to {after} bytes");
    }
    Publisher::new(five, HOST)?.publish(&[], true)?;
    five.run(HOST, &["--yes", "system", "stop", "beside", "--wait"])?;
    super::delete(five, "beside").context("after the flood")
}
