//! Events in words: what an entry of the log did, with the names of what it names by id.
//!
//! Deliberately not here: when and by whom, which the entry itself says, and whether it was refused, which is for whoever shows
//! it to mark.

mod membership;

use std::collections::BTreeMap;

use acp_base::{ByteSize, Uid};
use acp_wire_api::cluster::{Get, GetAt, GetAtRequest, GetRequest};
use acp_wire_model::{
    Kind,
    entry::{Action, Entry, LeaseAct, NodeStanding},
    merge,
};
use serde_json::Value;

pub use self::membership::in_words as membership_in_words;
use crate::{Connection, Event, FieldChange, diff, home::CLUSTER};

/// Objects that are remembered: a few megabytes of specs. Beyond, all are forgotten and asked for anew.
const KNOWN_MAX: usize = 10_000;

/// How often one teller asks for what an entry does not say: looking at a long log must not be a load for the node. Beyond,
/// objects are told by the end of their id.
const QUESTIONS_MAX: usize = 1_000;

/// Digits of an id whose object's name is not known: enough to tell objects apart by eye.
const ID_DIGITS: usize = 8;

/// Fields of one entry that are told; a spec that was replaced as a whole has more than anybody reads.
const FIELDS_MAX: usize = 8;

/// Characters of a value that are told.
const VALUE_CHARS_MAX: usize = 48;

/// What is known of an object.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    /// Its spec after the last entry that was told; `None`: not known.
    spec: Option<Value>,
}

/// Tells events in words. It remembers what it has told, and asks the node's cluster service for what it has not.
#[derive(Debug)]
pub struct EventTeller {
    connection: Connection,
    known: BTreeMap<Uid, Known>,
    questions_left: usize,
}

impl EventTeller {
    /// A teller that asks this connection's node. Events are to be told in their order.
    pub fn new(connection: &Connection) -> Self {
        Self { connection: connection.clone(), known: BTreeMap::new(), questions_left: QUESTIONS_MAX }
    }

    /// What the event did, or was to do if it was refused, like `created system web`.
    pub async fn tell(&mut self, event: &Event) -> String {
        let Some(entry) = &event.entry else { return "something that this version of ACP does not know".to_owned() };
        let is_done = event.refused.is_none();
        match &entry.action {
            Action::Genesis { node, node_name, .. } => {
                self.learn(*node, node_name.as_str(), None);
                format!("began the log with node {node_name}")
            }
            Action::Create { kind, name, uid, spec } => {
                if is_done {
                    self.learn(*uid, name.as_str(), Some(spec.clone()));
                }
                format!("created {kind} {name}")
            }
            Action::Update { kind, uid, patch, .. } => self.changed(entry, *kind, *uid, patch, is_done).await,
            Action::Delete { kind, uid } => format!("deleted {kind} {}", self.name(*kind, *uid, entry.index).await),
            Action::Membership { command } => self.membership(entry, command, is_done).await,
            Action::Lease { system, act } => self.lease(entry, *system, act).await,
            Action::Horizon { epoch, reason } => format!("began epoch {epoch} ({reason})"),
            Action::FeatureLevel { level } => format!("raised the feature level to {level}"),
            Action::Verdict { node, standing, evidence, unsaid } => {
                let node = self.name(Kind::Node, *node, entry.index).await;
                verdict_in_words(&node, *standing, evidence, *unsaid)
            }
        }
    }

    async fn changed(&mut self, entry: &Entry, kind: Kind, uid: Uid, patch: &Value, is_done: bool) -> String {
        let known = self.look_up(kind, uid, entry.index.saturating_sub(1)).await;
        let name = known.as_ref().map_or_else(|| uid.tail(ID_DIGITS), |known| known.name.clone());
        let before = known.and_then(|known| known.spec);
        let mut after = before.clone().unwrap_or_default();
        merge(&mut after, patch);
        let fields = match &before {
            Some(before) => diff(before, &after),
            None => asked(patch),
        };
        if is_done && let (Some(known), Some(_)) = (self.known.get_mut(&uid), before) {
            known.spec = Some(after);
        }
        format!("changed {kind} {name}: {}", fields_in_words(&fields))
    }

    async fn membership(&mut self, entry: &Entry, command: &Value, is_done: bool) -> String {
        let told = membership_in_words(command);
        let Some(node) = membership::node_named(command) else { return told };
        let name = self.name(Kind::Node, node, entry.index).await;
        if is_done && let Some(name) = membership::name_given(command) {
            self.learn(node, name, None);
        }
        told.replace(&node.to_string(), &name)
    }

    async fn lease(&mut self, entry: &Entry, system: Uid, act: &LeaseAct) -> String {
        let system = self.name(Kind::System, system, entry.index).await;
        let (LeaseAct::Grant { node } | LeaseAct::Release { node, .. } | LeaseAct::Revoke { node, .. }) = act;
        let node = self.name(Kind::Node, *node, entry.index).await;
        match act {
            LeaseAct::Grant { .. } => format!("granted system {system} to node {node}"),
            LeaseAct::Release { term, .. } => format!("node {node} gave system {system} back (term {term})"),
            LeaseAct::Revoke { term, .. } => format!("took system {system} from node {node} (term {term})"),
        }
    }

    fn learn(&mut self, uid: Uid, name: &str, spec: Option<Value>) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(uid, Known { name: name.to_owned(), spec });
    }

    async fn name(&mut self, kind: Kind, uid: Uid, index: u64) -> String {
        let known = self.look_up(kind, uid, index.saturating_sub(1)).await;
        known.map_or_else(|| uid.tail(ID_DIGITS), |known| known.name)
    }

    /// The object as it was at the index, else as it is now, of which the name alone is worth something.
    async fn look_up(&mut self, kind: Kind, uid: Uid, index: u64) -> Option<Known> {
        if let Some(known) = self.known.get(&uid) {
            return Some(known.clone());
        }
        self.questions_left = self.questions_left.checked_sub(1)?;
        let (node, uid_only) = (None, Some(uid));
        let then = GetAtRequest { kind, name: None, uid: uid_only, node: node.clone(), index };
        if let Ok(was) = self.connection.call::<GetAt>(CLUSTER, then).await {
            self.learn(uid, &was.name, Some(was.spec));
        } else {
            let now =
                GetRequest { kind, name: None, uid: uid_only, node, min_index: None, linearizable: false, here: None };
            let is = self.connection.call::<Get>(CLUSTER, now).await.ok()?;
            self.learn(uid, &is.object.name, None);
        }
        self.known.get(&uid).cloned()
    }
}

/// What a member is taken for, and why.
fn verdict_in_words(node: &str, standing: NodeStanding, evidence: &str, unsaid: u32) -> String {
    let left_out = match unsaid {
        0 => String::new(),
        1 => ", after 1 change that was left out".to_owned(),
        more => format!(", after {more} changes that were left out"),
    };
    format!("node {node} is {}{left_out}: {evidence}", standing.word())
}

/// The fields that a patch names, without what they were.
fn asked(patch: &Value) -> Vec<FieldChange> {
    let fields = patch.as_object().into_iter().flatten();
    let change = |(path, new): (&String, &Value)| FieldChange {
        path: path.clone(),
        old: None,
        new: Some(new.clone()).filter(|new| !new.is_null()),
    };
    fields.map(change).collect()
}

/// Fields as people read them: `memory_bytes 256MiB -> 512MiB, cpus 1 -> 2`.
fn fields_in_words(fields: &[FieldChange]) -> String {
    let words = fields.iter().take(FIELDS_MAX).map(|FieldChange { path, old, new }| {
        let text = |value: &Option<Value>| {
            value.as_ref().map_or_else(|| "none".to_owned(), |value| value_in_words(path, value))
        };
        match (old, new) {
            (None, Some(_)) => format!("{path} = {}", text(new)),
            (None, None) => format!("{path} taken out"),
            _ => format!("{path} {} -> {}", text(old), text(new)),
        }
    });
    let mut text = words.collect::<Vec<_>>().join(", ");
    match fields.len().checked_sub(FIELDS_MAX) {
        None | Some(0) => {}
        Some(more) => text.push_str(&format!(", and {more} more")),
    }
    if text.is_empty() { "nothing is different".to_owned() } else { text }
}

/// A value of the field at this path, on one line.
fn value_in_words(path: &str, value: &Value) -> String {
    let text = match value {
        Value::Number(number) if path.ends_with("_bytes") => {
            number.as_u64().map_or_else(|| number.to_string(), |bytes| ByteSize(bytes).to_string())
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(VALUE_CHARS_MAX).collect();
    if text.chars().count() > VALUE_CHARS_MAX {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_read_at_a_glance() {
        let before = json!({"memory_bytes": 268_435_456, "cpus": 1, "autostart": true, "disks": []});
        let mut after = before.clone();
        merge(&mut after, &json!({"memory_bytes": 536_870_912, "autostart": null, "floating": true}));
        assert_eq!(
            fields_in_words(&diff(&before, &after)),
            "autostart true -> none, floating = true, memory_bytes 256MiB -> 512MiB"
        );
        assert_eq!(fields_in_words(&[]), "nothing is different");
        assert_eq!(fields_in_words(&asked(&json!({"cpus": 2, "autostart": null}))), "autostart taken out, cpus = 2");
        let many: serde_json::Map<_, _> = (0..10).map(|at| (format!("k{at}"), json!(at))).collect();
        assert!(fields_in_words(&asked(&Value::Object(many))).ends_with("k7 = 7, and 2 more"));
    }

    #[test]
    fn a_verdict_is_read_with_its_evidence() {
        let told = |unsaid| verdict_in_words("n2", NodeStanding::Down, "no session for 2 s", unsaid);
        assert_eq!(told(0), "node n2 is down: no session for 2 s");
        assert_eq!(told(1), "node n2 is down, after 1 change that was left out: no session for 2 s");
        assert_eq!(told(7), "node n2 is down, after 7 changes that were left out: no session for 2 s");
    }

    #[test]
    fn a_value_stays_on_its_line_and_short() {
        assert_eq!(value_in_words("x", &json!("a\nb\u{1b}c")), "a b c");
        assert_eq!(value_in_words("x", &json!("é".repeat(60))), format!("{}…", "é".repeat(48)));
        assert_eq!(value_in_words("size_bytes", &json!("x")), "x");
    }
}
