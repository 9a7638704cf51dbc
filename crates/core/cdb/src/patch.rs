//! Keeping what this version does not know.

use serde_json::Value;

/// What was asked as it was understood, plus every key of it that this version does not know: a newer version's fields
/// survive a change by an older one.
pub(crate) fn keep_unknown(asked: &Value, understood: Value) -> Value {
    match (asked, understood) {
        (Value::Object(asked), Value::Object(mut understood)) => {
            for (key, value) in asked.iter().filter(|(_, value)| !value.is_null()) {
                let kept = match understood.remove(key) {
                    Some(known) => keep_unknown(value, known),
                    None => value.clone(),
                };
                understood.insert(key.clone(), kept);
            }
            Value::Object(understood)
        }
        (Value::Array(asked), Value::Array(understood)) if asked.len() == understood.len() => {
            Value::Array(asked.iter().zip(understood).map(|(asked, known)| keep_unknown(asked, known)).collect())
        }
        (_, understood) => understood,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_keys_survive_beside_what_was_understood() {
        let asked = json!({"known": 1, "newer": {"x": 1}, "list": [{"mac": "AA", "newer": 2}], "absent": null});
        let understood = json!({"known": 1, "list": [{"mac": "aa"}], "filled": true});
        assert_eq!(
            keep_unknown(&asked, understood),
            json!({"known": 1, "newer": {"x": 1}, "list": [{"mac": "aa", "newer": 2}], "filled": true})
        );
    }
}
