//! Who runs what.

use std::sync::Arc;

use acp_base::Failure;
use acp_core_cdb::State;
use acp_io_daemon::Call;
use acp_wire_api::cluster::{Lease, ListLeases, ListLeasesReply};

use super::App;

pub(super) async fn list(app: Arc<App>, _call: Call<ListLeases>) -> Result<ListLeasesReply, Failure> {
    app.database.look(leases).await
}

fn leases(state: &State) -> ListLeasesReply {
    let mut leases: Vec<Lease> = state
        .leases()
        .iter()
        .filter_map(|(system, lease)| {
            let name = state.get(*system)?.name.clone();
            let node = lease.holder.and_then(|holder| state.get(holder)).map(|node| node.name.clone());
            Some(Lease { system: *system, name, node, term: lease.term, index: lease.index })
        })
        .collect();
    leases.sort_by(|a, b| a.name.cmp(&b.name));
    ListLeasesReply { leases, index: state.index() }
}
