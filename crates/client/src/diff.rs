//! What differs between two specs, field by field.

use serde_json::Value;

/// A field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// Where it is, like `memory_bytes` or `disks[0].size_bytes`.
    pub path: String,
    /// What it was; `None`: it was not there.
    pub old: Option<Value>,
    /// What it is; `None`: it is not there any more.
    pub new: Option<Value>,
}

/// The fields that differ, in the order of their names. Lists of the same length are compared element by element, others as
/// a whole; a field that is null counts as one that is not there, as it does in a merge patch.
pub fn diff(old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(String::new(), Some(old), Some(new), &mut found);
    found
}

fn compare(path: String, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<FieldChange>) {
    let there = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
    match (old, new) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            let mut keys: Vec<_> = before.keys().chain(added).collect();
            keys.sort_unstable();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(path, before.get(key), after.get(key), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) if before.len() == after.len() => {
            for (at, (before, after)) in before.iter().zip(after).enumerate() {
                compare(format!("{path}[{at}]"), Some(before), Some(after), found);
            }
        }
        _ if there(old) == there(new) => {}
        _ => found.push(FieldChange { path, old: there(old), new: there(new) }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_that_differs_is_named_once() {
        let old = json!({"cpus": 1, "disks": [{"size": 1, "pool": "a"}], "nics": [], "gone": true, "null": null});
        let new = json!({"cpus": 2, "disks": [{"size": 2, "pool": "a"}], "nics": [{"n": 1}], "fresh": {"x": 1}});
        let seen: Vec<_> = diff(&old, &new).into_iter().map(|one| (one.path, one.old, one.new)).collect();
        let expected = [
            ("cpus", Some(json!(1)), Some(json!(2))),
            ("disks[0].size", Some(json!(1)), Some(json!(2))),
            ("fresh", None, Some(json!({"x": 1}))),
            ("gone", Some(json!(true)), None),
            ("nics", Some(json!([])), Some(json!([{"n": 1}]))),
        ];
        assert_eq!(seen, expected.map(|(path, old, new)| (path.to_owned(), old, new)));
        assert_eq!(diff(&old, &old), []);
    }
}
