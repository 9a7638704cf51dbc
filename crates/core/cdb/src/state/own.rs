//! What a node takes along when it enters another log, and what it keeps when it goes on alone.

use acp_base::{EpochId, Name, Uid};
use acp_wire_model::{
    Kind,
    entry::{Action, Entry},
};
use serde_json::Value;

use super::{Record, State};
use crate::codec::encode;

/// In which order objects come: what others name before them.
const COMING: [Kind; 4] = [Kind::Network, Kind::Pool, Kind::Image, Kind::System];

impl State {
    /// What declares this node's objects in another log: with the same identities, in an order that applies.
    pub fn own_objects(&self, node: &Name) -> Vec<Action> {
        let mut own = self.on_node(node);
        let place = |record: &Record| COMING.iter().position(|kind| *kind == record.kind);
        own.sort_by(|a, b| (place(a), &a.name).cmp(&(place(b), &b.name)));
        own.into_iter().map(|record| declaration(&record)).collect()
    }

    /// The state of a node that goes on alone from here, under this name and in a log of its own: its own objects, as they are.
    pub fn alone(&self, node: Uid, name: &Name, epoch: EpochId, cluster: Uid) -> Self {
        let genesis = Action::Genesis { cluster, node, node_name: name.clone() };
        // What is kept was written at this level.
        let level = Some(self.level).filter(|level| *level > 0).map(|level| Action::FeatureLevel { level });
        let known = self.get(node).filter(|record| record.kind == Kind::Node);
        let own = known.map(|record| self.own_objects(&record.name)).unwrap_or_default();
        let described = known.map(|record| Value::clone(&record.value));
        let describe = described.map(|patch| Action::Update { kind: Kind::Node, uid: node, patch, if_version: None });
        let mut state = Self::default();
        for action in
            [genesis].into_iter().chain(level).chain(describe).chain(own.into_iter().map(|action| moved(action, name)))
        {
            let (index, time) = (state.index + 1, self.time);
            let entry = Entry { index, epoch, time, actor: "root".to_owned(), request: String::new(), action };
            // What is declared here was admitted under the same rules; a replica of this version refuses none of it.
            drop(state.apply(&encode(&entry)));
        }
        state
    }
}

fn declaration(record: &Record) -> Action {
    let spec = Value::clone(&record.value);
    Action::Create { kind: record.kind, name: record.name.clone(), uid: record.uid, spec }
}

/// The same declaration on a node of another name.
fn moved(action: Action, node: &Name) -> Action {
    match action {
        Action::Create { kind, name, uid, mut spec } => {
            if let Value::Object(fields) = &mut spec {
                fields.insert("node".to_owned(), Value::from(node.as_str()));
            }
            Action::Create { kind, name, uid, spec }
        }
        other => other,
    }
}
