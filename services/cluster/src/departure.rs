//! The entry that takes this node out of its cluster: it is looked for before anything of it is stored or applied.
//!
//! What is on a node goes with it: whoever applied that entry here would tell the services of this node that all they run has
//! ended. So a replica stops just before it, keeps what it has, and goes on by `Part`, or by `Enter` when the cluster has taken
//! the node back.
//!
//! **Invariant**: the state that is served here never loses this node, nor what is on it, because the node was taken out.

use acp_base::{Failure, Uid};
use acp_core_cdb::{State, decode};
use acp_wire_model::entry::Action;

use crate::service::Handle;

/// The commands of the membership that take a node out.
const DEPARTURES: [&str; 2] = ["leave", "remove"];

/// How many of these entries, the first of which has index `first`, come before the one that takes this node out; none if it is not
/// among them.
pub(crate) async fn before(
    database: &Handle,
    node: Uid,
    entries: &[Vec<u8>],
    first: u64,
) -> Result<Option<usize>, Failure> {
    if !entries.iter().zip(first..).any(|(bytes, index)| may_depart(bytes, index)) {
        return Ok(None);
    }
    let (mut state, entries) = (database.look(Clone::clone).await?, entries.to_vec());
    let looked = tokio::task::spawn_blocking(move || {
        let is_here = |state: &State| state.get(node).is_some();
        entries.iter().position(|bytes| {
            let was_here = is_here(&state);
            drop(state.apply(bytes));
            was_here && !is_here(&state)
        })
    });
    looked.await.map_err(|error| Failure::internal(format!("a departure could not be looked for: {error}")))
}

/// Whether a state that is to take the place of what is known has come without this node, or without what had gone with it.
pub(crate) async fn is_in(database: &Handle, node: Uid, next: &State) -> Result<bool, Failure> {
    let cluster = next.identity().map(|identity| identity.cluster);
    let is_here = next.get(node).is_some();
    let known = database.look(move |known| {
        let is_same = known.identity().map(|identity| identity.cluster) == cluster;
        let name = known.get(node).filter(|_| is_same).map(|record| record.name.clone())?;
        let uid = |action| match action {
            Action::Create { uid, .. } => Some(uid),
            _ => None,
        };
        Some(known.own_objects(&name).into_iter().filter_map(uid).collect::<Vec<_>>())
    });
    Ok(known.await?.is_some_and(|own| !is_here || own.into_iter().any(|uid| next.has_departed(uid))))
}

/// Whether an entry may take a node out.
fn may_depart(bytes: &[u8], index: u64) -> bool {
    let Ok(entry) = decode(bytes, index) else { return false };
    let Action::Membership { command } = entry.action else { return false };
    DEPARTURES.iter().any(|kind| command["type"] == *kind)
}
