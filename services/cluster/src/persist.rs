//! From the stored bytes to the state, at start.

use std::path::Path;

use acp_base::{EpochId, Name};
use acp_core_cdb::{Hash, Outcome, State};
use acp_io_daemon::new_uid;
use acp_io_store::{Recovered, Store, StoreError};
use acp_wire_model::entry::Action;

use crate::{
    error::RunError,
    sequencer::{Command, LocalQuorum},
};

/// The database's chain as the store takes it.
fn chain(before: &[u8; 32], entry: &[u8]) -> [u8; 32] {
    Hash::from_bytes(*before).link(entry).bytes()
}

/// Opens the store and verifies what it holds since its newest snapshot. Blocks; nothing else runs yet.
pub(crate) fn open(directory: &Path) -> Result<(Store, Recovered), StoreError> {
    Store::open(directory, chain)
}

/// The state at the end of the stored log, and the quorum that goes on from there. An empty store becomes a new cluster of
/// this one node.
pub(crate) async fn bring_up(
    store: &std::sync::Arc<Store>,
    recovered: &Recovered,
    node: &Name,
) -> Result<(State, LocalQuorum), RunError> {
    let mut state = match &recovered.snapshot {
        Some(snapshot) => State::restore(&snapshot.bytes)?,
        None => State::default(),
    };
    replay(store, &mut state, recovered.last.index).await?;
    let last = (recovered.last.index, Hash::from_bytes(recovered.last.hash));
    if let Some(identity) = state.identity() {
        if identity.node_name != *node {
            return Err(RunError::OtherNode { stored: identity.node_name.clone(), given: node.clone() });
        }
        let quorum = LocalQuorum::new(std::sync::Arc::clone(store), identity.epoch, last);
        return Ok((state, quorum));
    }
    let mut quorum = LocalQuorum::new(std::sync::Arc::clone(store), EpochId { number: 1, id: new_uid() }, last);
    if state.stalled().is_none() {
        found(&mut quorum, &mut state, node).await?;
    }
    Ok((state, quorum))
}

/// Applies the stored log from where the state stands to its end, or to the first entry that this version cannot apply.
async fn replay(store: &Store, state: &mut State, last: u64) -> Result<(), StoreError> {
    let mut refusals = Vec::new();
    while state.index() < last && state.stalled().is_none() {
        let page = store.read(state.index() + 1, last).await?;
        if page.rows.is_empty() {
            return Err(StoreError::Broken { index: state.index() + 1 });
        }
        for row in page.rows {
            match state.apply(&row.bytes) {
                Outcome::Done(_) => {}
                Outcome::Refused(refusal) if row.refused.as_ref() == Some(&refusal.message) => {}
                Outcome::Refused(refusal) => refusals.push((row.index, refusal.message)),
                Outcome::Stalled(_) => break,
            }
            if state.hash().bytes() != row.hash {
                return Err(StoreError::Broken { index: row.index });
            }
        }
    }
    if !refusals.is_empty() {
        store.refuse(refusals).await?;
    }
    Ok(())
}

/// The first entry: the cluster, its epoch and its first node.
async fn found(quorum: &mut LocalQuorum, state: &mut State, node: &Name) -> Result<(), StoreError> {
    let action = Action::Genesis { cluster: new_uid(), node: new_uid(), node_name: node.clone() };
    let command = Command { actor: format!("cluster@{node}"), request: String::new(), action };
    for ordered in quorum.order(vec![command]).await? {
        state.apply(&ordered.bytes);
    }
    if let Some(identity) = state.identity() {
        tracing::info!(cluster = %identity.cluster, %node, "cluster founded");
    }
    Ok(())
}
