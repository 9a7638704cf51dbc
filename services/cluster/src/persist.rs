//! From the stored bytes to the state, at start.

use std::path::Path;

use acp_base::{Name, Uid};
use acp_core_cdb::{Hash, Outcome, State, decode};
use acp_io_daemon::new_uid;
use acp_io_store::{Recovered, Row, Store, StoreError};
use acp_wire_model::entry::Action;

use crate::{
    error::RunError,
    identity::{Identity, Record},
};

/// The database's chain as the store takes it.
fn chain(before: &[u8; 32], entry: &[u8]) -> [u8; 32] {
    Hash::from_bytes(*before).link(entry).bytes()
}

/// Opens the store and verifies what it holds since its newest snapshot. Blocks; nothing else runs yet.
pub(crate) fn open(directory: &Path) -> Result<(Store, Recovered), StoreError> {
    Store::open(directory, chain)
}

/// The state at the end of the stored log.
pub(crate) async fn bring_up(store: &Store, recovered: &Recovered) -> Result<State, RunError> {
    let mut state = match &recovered.snapshot {
        Some(snapshot) => State::restore(&snapshot.bytes)?,
        None => State::default(),
    };
    replay(store, &mut state, recovered.last.index).await?;
    Ok(state)
}

/// Who this node is: as it was written down; else as the store says, which is from before that was; else somebody new. A node
/// that its framework calls by another name than this, the cluster and the log do is another one.
pub(crate) async fn identify(
    record: &Record,
    store: &Store,
    state: &State,
    given: &Name,
) -> Result<Identity, RunError> {
    let known = record.read()?;
    let stored = state.identity().map(|identity| (identity.node, identity.node_name.clone()));
    let was_known = known.is_some();
    let mut identity = known.unwrap_or_else(|| {
        let (node, name) = stored.unwrap_or_else(|| (new_uid(), given.clone()));
        Identity { node, name, cluster: None, controllers: Vec::new(), intent: None }
    });
    let in_cluster = state.get(identity.node).map(|record| &record.name);
    let is_strange = identity.name != *given && in_cluster != Some(given);
    if is_strange && !was_called(store, state.index(), identity.node, given).await? {
        return Err(RunError::OtherNode { stored: identity.name, given: given.clone() });
    }
    let is_news = !was_known || identity.name != *given;
    identity.name = given.clone();
    if is_news {
        record.write(&identity).map_err(RunError::Identity)?;
    }
    Ok(identity)
}

/// Whether the log that is kept has given the node this name: its framework goes by one that it has had for a moment.
async fn was_called(store: &Store, last: u64, node: Uid, name: &Name) -> Result<bool, StoreError> {
    let mut next = store.anchor().await?.index + 1;
    while next <= last {
        let page = store.read(next, last).await?;
        if page.rows.iter().any(|row| renames(row, node, name)) {
            return Ok(true);
        }
        let Some(read) = page.rows.last() else { break };
        next = read.index + 1;
    }
    Ok(false)
}

fn renames(row: &Row, node: Uid, name: &Name) -> bool {
    let Ok(entry) = decode(&row.bytes, row.index) else { return false };
    let Action::Membership { command } = entry.action else { return false };
    row.refused.is_none()
        && command["type"] == "rename"
        && command["node"] == node.to_string()
        && command["to"] == name.as_str()
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
