//! Lists: taken at once, sent in batches.

use std::sync::Arc;

use acp_base::Failure;
use acp_core_cdb::{
    Comparison, Selector, View,
    limits::{BATCH_BYTES, BATCH_OBJECTS_MAX},
};
use acp_io_daemon::{Call, Sink, boot_now};
use acp_wire_api::cluster::{self as api, List, ListReply, SelectorOp};
use acp_wire_model::Object;

use super::App;

pub(super) async fn list(app: Arc<App>, call: Call<List>, sink: Sink<List>) -> Result<ListReply, Failure> {
    let selectors = selectors(call.request.selectors)?;
    app.reach(call.request.min_index).await?;
    let (mut views, index) = app.database.list(call.request.kind.into_iter().collect()).await?;
    views.retain(|view| selectors.iter().all(|selector| selector.matches(view)));
    let mut batches = Batches::new(views);
    loop {
        let objects = batches.next_batch();
        if batches.is_empty() {
            return Ok(ListReply { objects, index });
        }
        sink.send(ListReply { objects, index }).await?;
    }
}

fn selectors(asked: Vec<api::Selector>) -> Result<Vec<Selector>, Failure> {
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

/// Views as objects, a batch at a time: only one batch is ever copied out of the database.
#[derive(Debug)]
pub(super) struct Batches {
    views: std::iter::Peekable<std::vec::IntoIter<View>>,
}

impl Batches {
    pub(super) fn new(views: Vec<View>) -> Self {
        Self { views: views.into_iter().peekable() }
    }

    /// Whether all views have been taken.
    pub(super) fn is_empty(&mut self) -> bool {
        self.views.peek().is_none()
    }

    /// The next objects, within the bounds of a batch.
    pub(super) fn next_batch(&mut self) -> Vec<Object> {
        let now = boot_now();
        let mut objects = Vec::new();
        let mut bytes = 0;
        while objects.len() < BATCH_OBJECTS_MAX
            && bytes < BATCH_BYTES
            && let Some(view) = self.views.next()
        {
            bytes += view.bytes();
            objects.push(view.to_object(now));
        }
        objects
    }
}
