//! A bulk stream that is read for as long as it comes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::{
    cluster::{At, Cluster},
    world::LIMIT,
};

/// What is asked for: more than any case has time for.
const BYTES: u64 = 1 << 40;
/// What has come before anything is disturbed.
const BEGUN_BYTES: u64 = 8 << 20;

/// A stream from one node to another, read on a thread of its own.
pub(super) struct Bulk {
    read: Arc<AtomicU64>,
    reading: JoinHandle<Instant>,
}

impl Bulk {
    /// Begins to receive and waits until it comes.
    pub(super) fn receive(cluster: &Cluster, at: At, from: At) -> Result<Self> {
        let key = cluster.root_key(at)?;
        let asked = json!({ "service": "agent", "node": from.name(), "key": key, "bulk": true });
        let opened = cluster.ask_to_open(at, &asked)?;
        let mut conversation = opened.map_err(|refused| anyhow::anyhow!("no bulk stream: {refused:?}"))?;
        let measure = json!({ "send_bytes": 0, "receive_bytes": BYTES });
        conversation.send(&json!({ "method": "acp.agent.Measure", "parameters": measure, "upgrade": true }))?;
        let reply = conversation.receive()?.context("no answer to Measure")?;
        ensure!(reply["error"].is_null(), "Measure answered {reply}");
        let read = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&read);
        let reading = thread::spawn(move || {
            conversation.drain(|count| {
                counter.fetch_add(count, Ordering::Relaxed);
            });
            Instant::now()
        });
        let bulk = Self { read, reading };
        wait_for("the bulk stream to come", LIMIT, || {
            let read = bulk.read.load(Ordering::Relaxed);
            if read >= BEGUN_BYTES { Ok(()) } else { Err(format!("{read} bytes")) }
        })?;
        Ok(bulk)
    }

    /// The end of the stream is told within this time, and it is the end of a stream that was cut off.
    pub(super) fn wait_cut(self, limit: Duration) -> Result<()> {
        wait_for("the end of the bulk stream to be told", limit, || {
            if self.reading.is_finished() {
                Ok(())
            } else {
                Err(format!("{} bytes", self.read.load(Ordering::Relaxed)))
            }
        })?;
        self.reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let read = self.read.load(Ordering::Relaxed);
        ensure!(read < BYTES, "the stream ended as if it were whole, after {read} bytes");
        Ok(())
    }
}
