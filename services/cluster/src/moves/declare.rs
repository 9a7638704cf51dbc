//! This node's own objects, declared in the log that it enters.

use std::time::Duration;

use acp_base::{Failure, Name};
use acp_core_cdb::State;
use acp_io_client::Client;
use acp_wire_api::hub::{Proposal, Propose, ProposeRequest};
use acp_wire_model::entry::Action;

use super::candidate::Candidate;
use crate::proposer::settled;

/// Objects in one batch: as many as a hub takes.
const BATCH_MAX: usize = 512;

/// Bytes as JSON after which a batch is closed, below what one call may have.
const BATCH_BYTES: usize = 512 << 10;

/// How long a batch may take to be ordered.
const ORDER_MAX: Duration = Duration::from_secs(15);

/// What became of the objects.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// So many are in the log.
    pub(super) taken: u64,
    /// Those that are not, a sentence each.
    pub(super) orphans: Vec<String>,
}

/// Declares what `known` has of this node and the candidate does not have yet. A node that comes back to its own cluster
/// declares what had gone with it: what else is not known there any more was deleted.
pub(super) async fn declare(
    candidate: &mut Candidate,
    client: &Client,
    known: &State,
    name: &Name,
    is_same: bool,
) -> Result<Declared, Failure> {
    let mut declared = Declared::default();
    let mut missing = Vec::new();
    for action in known.own_objects(name) {
        let Action::Create { uid, kind, name, .. } = &action else { continue };
        if candidate.state().get(*uid).is_some() {
            declared.taken += 1;
        } else if is_same && !candidate.state().has_departed(*uid) {
            declared.orphans.push(format!("{kind} {:?} is not known in the cluster any more", name.as_str()));
        } else {
            missing.push(action);
        }
    }
    let actor = format!("cluster@{name}");
    let mut last = 0;
    for batch in batches(&actor, missing)? {
        let entries = batch.iter().map(|(proposal, _)| proposal.clone()).collect();
        let service = candidate.service(client).deadline(ORDER_MAX);
        let reply = service.call::<Propose>(ProposeRequest { entries }).await?;
        for (outcome, (_, what)) in reply.outcomes.into_iter().zip(batch) {
            let ordered = settled(outcome);
            last = last.max(ordered.index);
            match ordered.refused {
                None => declared.taken += 1,
                Some(refusal) => declared.orphans.push(format!("{what}: {}", refusal.message)),
            }
        }
    }
    candidate.reach(last).await?;
    Ok(declared)
}

type Batch = Vec<(Proposal, String)>;

/// The objects in batches, in their order, each with how it is called.
fn batches(actor: &str, actions: Vec<Action>) -> Result<Vec<Batch>, Failure> {
    let (mut batches, mut bytes): (Vec<Batch>, usize) = (Vec::new(), 0);
    for action in actions {
        let Action::Create { kind, name, .. } = &action else { continue };
        let what = format!("{kind} {:?}", name.as_str());
        let written = |error: serde_json::Error| Failure::internal(format!("{what} cannot be written: {error}"));
        let value = serde_json::to_value(&action).map_err(written)?;
        let size = value.to_string().len();
        let is_full = batches.last().is_none_or(|batch| batch.len() >= BATCH_MAX || bytes + size > BATCH_BYTES);
        if is_full {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(batch) = batches.last_mut() {
            batch.push((Proposal { actor: actor.to_owned(), request: String::new(), action: value }, what));
        }
    }
    Ok(batches)
}
