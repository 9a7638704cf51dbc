//! F4: listing 10,000 objects, and the way from publishing a slot to the watcher's event.

use std::time::{Duration, Instant};

use acp_base::Uid;
use acp_io_client::{Client, Replies};
use acp_wire_api::cluster::{
    List, ListRequest, Publish, PublishRequest, Report as SlotReport, Watch, WatchChange, WatchRequest,
};
use acp_wire_model::{Kind, object::Facet};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::{
    Setup, block_on,
    figure::{Figure, Report, millis, percentile},
    node,
};

/// Objects in the list.
const OBJECTS: u32 = 10_000;
/// Slots in one publication, the cluster's bound.
const BATCH: u32 = 1_000;
/// The promise for the whole list, in milliseconds.
const LIST_LIMIT: f64 = 100.0;
/// Lists taken; the median counts.
const LISTS: usize = 11;
/// The promise from publishing to the event, in milliseconds.
const EVENT_LIMIT: f64 = 1.0;
/// Publications measured; the median counts.
const PUBLICATIONS: u64 = 1_000;
/// An event that has not come by then is lost.
const EVENT_WAIT: Duration = Duration::from_secs(5);

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let node = node(&setup.bin)?;
    block_on(measure(Client::new(node.layout().run())))
}

async fn measure(client: Client) -> Result<Report> {
    let mut publisher = Publisher::new(client.clone())?;
    for first in (0..OBJECTS).step_by(usize::try_from(BATCH)?) {
        publisher.publish((first..first + BATCH).map(|number| job(number, 0)).collect()).await?;
    }
    let mut lists = Vec::new();
    for _ in 0..LISTS {
        lists.push(list(&client).await?);
    }
    let mut events = watch(&client, &mut publisher).await?;
    let figures = vec![
        Figure::at_most("10,000 objects listed", percentile(&mut lists, 0.5), LIST_LIMIT, "ms"),
        Figure::at_most("publish to watch event, p50", percentile(&mut events, 0.5), EVENT_LIMIT, "ms"),
    ];
    Ok(Report { bench: "watch", figures })
}

/// Publishes slots as one reporter.
pub(crate) struct Publisher {
    client: Client,
    incarnation: u64,
    sequence: u64,
}

impl Publisher {
    pub(crate) fn new(client: Client) -> Result<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Self { client, incarnation: u64::try_from(now.as_millis())?, sequence: 0 })
    }

    pub(crate) async fn publish(&mut self, reports: Vec<SlotReport>) -> Result<()> {
        self.sequence += 1;
        let request =
            PublishRequest { incarnation: self.incarnation, sequence: self.sequence, reports, replace: false };
        let reply = self.client.service("cluster").call::<Publish>(request).await?;
        ensure!(reply.unknown.is_empty(), "the cluster does not know {:?}", reply.unknown);
        Ok(())
    }
}

/// A job as its owner reports it: an object of ordinary size that needs no entry in the log.
pub(crate) fn job(number: u32, percent: u64) -> SlotReport {
    // Version 7, variant 1, the rest counts.
    let uid = Uid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number));
    let data = json!({
        "id": uid, "verb": "bench-measure", "owner": "bench", "object_kind": "volume", "object_name": format!("bench/{number}"),
        "state": "running", "step": "being measured", "percent": percent, "cancellable": false, "started_ms": 1,
    });
    SlotReport { kind: Kind::Job, uid, name: Some(uid.to_string()), facet: Facet::Meta, data: Some(data) }
}

/// The time until the last of all objects is there, in milliseconds.
async fn list(client: &Client) -> Result<f64> {
    let started = Instant::now();
    let request = ListRequest { kind: Some(Kind::Job), selectors: Vec::new(), min_index: None, here: None };
    let mut replies = client.service("cluster").stream::<List>(request).await?;
    let mut count = 0;
    while let Some(reply) = replies.next().await {
        count += reply?.objects.len();
    }
    let taken = millis(started.elapsed());
    ensure!(count >= usize::try_from(OBJECTS)?, "only {count} objects were listed");
    Ok(taken)
}

/// The times from calling `Publish` to receiving its event, in milliseconds.
async fn watch(client: &Client, publisher: &mut Publisher) -> Result<Vec<f64>> {
    let request = WatchRequest { kinds: vec![Kind::Job], cursor: None, without_stats: false, here: None };
    let mut replies = client.service("cluster").stream::<Watch>(request).await?;
    wait_synced(&mut replies).await?;
    let mut times = Vec::new();
    for round in 1..=PUBLICATIONS {
        let started = Instant::now();
        let event = async {
            wait_percent(&mut replies, round).await?;
            Ok::<_, anyhow::Error>(millis(started.elapsed()))
        };
        let (published, seen) =
            tokio::join!(publisher.publish(vec![job(0, round)]), tokio::time::timeout(EVENT_WAIT, event));
        published?;
        times.push(seen.with_context(|| format!("no event came for publication {round}"))??);
    }
    Ok(times)
}

pub(crate) async fn wait_synced(replies: &mut Replies<Watch>) -> Result<()> {
    while let Some(reply) = replies.next().await {
        if reply?.events.iter().any(|event| event.change == WatchChange::Synced) {
            return Ok(());
        }
    }
    bail!("the watch ended before the state was complete")
}

pub(crate) async fn wait_percent(replies: &mut Replies<Watch>, percent: u64) -> Result<()> {
    while let Some(reply) = replies.next().await {
        let objects = reply?.events.into_iter().filter_map(|event| event.object);
        let slots = objects.flat_map(|object| object.slots);
        if slots.into_iter().any(|slot| slot.data["percent"] == percent) {
            return Ok(());
        }
    }
    bail!("the watch ended")
}
