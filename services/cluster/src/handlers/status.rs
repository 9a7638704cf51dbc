//! Identity, position and counts.

use std::sync::Arc;

use acp_base::Failure;
use acp_io_daemon::Call;
use acp_wire_api::cluster::{GetStatus, Status};

use super::App;

pub(super) async fn status(app: Arc<App>, _call: Call<GetStatus>) -> Result<Status, Failure> {
    let standing = app.database.standing().await?;
    let Some(identity) = standing.identity else {
        return Err(Failure::unavailable(format!("this replica knows no cluster: {}", standing.stalled)));
    };
    Ok(Status {
        cluster: identity.cluster,
        node_uid: identity.node,
        node: identity.node_name,
        epoch: identity.epoch.to_string(),
        index: standing.index,
        hash: standing.hash,
        objects: wide(standing.objects),
        slots: wide(standing.slots),
        watches: wide(app.shares.watches()),
        store_bytes: app.store.bytes(),
        stalled: standing.stalled,
    })
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
