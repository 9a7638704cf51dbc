//! Lists: taken at once, sent in batches.

use std::sync::Arc;

use acp_base::{BootInstant, Failure};
use acp_core_cdb::{
    Comparison, Rendered, Selector, View,
    limits::{BATCH_BYTES, BATCH_OBJECTS_MAX},
};
use acp_io_daemon::{Call, Sink, boot_now};
use acp_wire_api::cluster::{self as api, List, ListReply, SelectorOp};
use serde::Serialize;

use super::{App, to_json};

/// A [`ListReply`] whose objects are JSON already.
#[derive(Debug, Serialize)]
struct Reply<'a> {
    objects: Vec<Rendered<'a>>,
    index: u64,
}

pub(super) async fn list(app: Arc<App>, call: Call<List>, sink: Sink<List>) -> Result<ListReply, Failure> {
    let selectors = selectors(call.request.selectors)?;
    app.reach(call.request.min_index).await?;
    let share = app.shares.of(&call.caller);
    let _listing = share.listing().await?;
    let (mut views, index) = app.database.list(call.request.kind.into_iter().collect()).await?;
    let here = call.request.here;
    views = views.into_iter().filter_map(|view| view.within(here)).collect();
    views.retain(|view| selectors.iter().all(|selector| selector.matches(view)));
    let mut batches = Batches::new(&views);
    loop {
        let batch = batches.next_batch();
        let now = boot_now();
        if batches.is_empty() {
            let objects = batch.iter().map(|view| view.to_object(now)).collect();
            return Ok(ListReply { objects, index });
        }
        sink.send_json(to_json(&Reply { objects: rendered(batch, now), index })?).await?;
    }
}

fn rendered(views: &[View], now: BootInstant) -> Vec<Rendered<'_>> {
    views.iter().map(|view| view.rendered(now)).collect()
}

pub(super) fn selectors(asked: Vec<api::Selector>) -> Result<Vec<Selector>, Failure> {
    Selector::check_count(asked.len())?;
    let convert = |selector: api::Selector| {
        let comparison = match selector.op {
            SelectorOp::Eq => Comparison::Equal,
            SelectorOp::Ne => Comparison::NotEqual,
        };
        Selector::new(&selector.path, comparison, selector.value).map_err(Failure::from)
    };
    asked.into_iter().map(convert).collect()
}

/// Views in batches of bounded number and size.
#[derive(Debug)]
pub(super) struct Batches<'a> {
    rest: &'a [View],
}

impl<'a> Batches<'a> {
    pub(super) const fn new(views: &'a [View]) -> Self {
        Self { rest: views }
    }

    /// Whether all views have been taken.
    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next views: one at least, if there is one.
    pub(super) fn next_batch(&mut self) -> &'a [View] {
        let mut bytes = 0;
        let fits = |view: &&View| {
            let is_open = bytes < BATCH_BYTES;
            bytes += view.bytes();
            is_open
        };
        let count = self.rest.iter().take(BATCH_OBJECTS_MAX).take_while(fits).count();
        let (batch, rest) = self.rest.split_at(count);
        self.rest = rest;
        batch
    }
}
