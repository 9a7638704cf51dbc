//! The opposite of an entry.
//!
//! **Invariant**: applied, it restores exactly the fields that the entry changed, and it is refused if any of them was changed
//! since: taking one change back never takes a later one with it.

use acp_base::{Code, Uid};
use acp_wire_model::{
    Kind,
    entry::{Action, Entry},
};
use serde_json::{Map, Value};

use super::State;
use crate::{codec::encode, refusal::Refusal};

impl State {
    /// What takes an entry back; `before` is the state just before it, this is the state now.
    ///
    /// # Errors
    /// `Conflict` if what it did was changed since, `FailedPrecondition` if it has no opposite.
    pub fn undo(&self, entry: &Entry, before: &Self) -> Result<Action, Refusal> {
        match &entry.action {
            Action::Create { kind, uid, .. } => self.undo_create(entry.index, *kind, *uid),
            Action::Update { kind, uid, .. } => self.undo_update(entry, *kind, *uid, before),
            Action::Delete { kind, uid } => Err(Refusal::precondition(format!(
                "entry {} has ended {kind} {uid}, whose identity does not come back: declare a new one with the spec that it had at index {}",
                entry.index,
                before.index()
            ))),
            _ => Err(Refusal::precondition(format!(
                "entry {} neither declared nor changed an object: only such an entry can be undone",
                entry.index
            ))),
        }
    }

    fn undo_create(&self, index: u64, kind: Kind, uid: Uid) -> Result<Action, Refusal> {
        let record = self.living(kind, uid)?;
        if record.version != index {
            let (object, version) = (self.describe(uid), record.version);
            let message = format!("{object} was changed since, by entry {version}: undo that first, or delete it");
            return Err(Refusal::new(Code::Conflict, message));
        }
        Ok(Action::Delete { kind, uid })
    }

    fn undo_update(&self, entry: &Entry, kind: Kind, uid: Uid, before: &Self) -> Result<Action, Refusal> {
        let record = self.living(kind, uid)?;
        let mut after = before.clone();
        drop(after.apply(&encode(entry)));
        let nothing = || Refusal::precondition(format!("entry {} changed nothing: it was refused", entry.index));
        let then = before.get(uid).ok_or_else(nothing)?;
        let patch = match after.get(uid) {
            Some(changed) => reversal(&then.value, &changed.value, &record.value, "spec"),
            None => return Err(nothing()),
        };
        let patch = patch.map_err(|path| {
            let object = self.describe(uid);
            Refusal::new(
                Code::Conflict,
                format!("{path} of {object} was changed since entry {}: undo that first", entry.index),
            )
        })?;
        let patch = patch.ok_or_else(nothing)?;
        Ok(Action::Update { kind, uid, patch, if_version: Some(record.version) })
    }
}

/// The merge patch that makes `now` again what it was where `before` and `after` differ; none if they do not.
///
/// # Errors
/// The path of the first difference that is not in `now` any more.
fn reversal(before: &Value, after: &Value, now: &Value, path: &str) -> Result<Option<Value>, String> {
    if before == after {
        return Ok(None);
    }
    let (Value::Object(old), Value::Object(new), Value::Object(current)) = (before, after, now) else {
        return if after == now { Ok(Some(before.clone())) } else { Err(path.to_owned()) };
    };
    let mut patch = Map::new();
    for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
        let [old, new, current] = [old, new, current].map(|map| map.get(key).unwrap_or(&Value::Null));
        if let Some(value) = reversal(old, new, current, &format!("{path}.{key}"))? {
            patch.insert(key.clone(), value);
        }
    }
    Ok(Some(Value::Object(patch)))
}
