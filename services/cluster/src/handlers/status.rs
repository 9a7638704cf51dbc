//! Identity, position and counts.

use std::sync::Arc;

use acp_base::Failure;
use acp_io_daemon::Call;
use acp_wire_api::cluster::{GetStatus, Status};

use super::App;
use crate::error::read_failure;

pub(super) async fn status(app: Arc<App>, _call: Call<GetStatus>) -> Result<Status, Failure> {
    let standing = app.database.standing().await?;
    let told = app.following.told();
    let (Some(cluster), Some(epoch)) = (standing.cluster, standing.epoch) else {
        let why = if standing.stalled.is_empty() { told.degraded } else { standing.stalled };
        return Err(Failure::unavailable(format!("this replica knows no cluster: {why}")));
    };
    let (node_uid, node) = {
        let peers = app.peers.borrow();
        (peers.node, peers.here.clone())
    };
    let heard = told.heard.map(|heard| u64::try_from(heard.elapsed().as_millis()).unwrap_or(u64::MAX));
    Ok(Status {
        cluster,
        node_uid,
        node,
        epoch: epoch.to_string(),
        index: standing.index,
        hash: standing.hash,
        objects: wide(standing.objects),
        slots: wide(standing.slots),
        watches: wide(app.shares.watches()),
        store_bytes: app.store.bytes(),
        stalled: standing.stalled,
        source: told.source.map(|source| source.to_string()).unwrap_or_default(),
        heard_ms: heard,
        degraded: told.degraded,
        feature_level: standing.feature_level,
        anchor: app.store.anchor().await.map_err(|error| read_failure(&error))?.index,
    })
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
