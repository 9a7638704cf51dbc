//! JSON merge patch (RFC 7396), and keeping what this version does not know.

use serde_json::{Map, Value};

/// `target` with `patch` merged into it: objects key by key, null removes, anything else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

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
    fn merges_as_the_appendix_of_rfc_7396_says() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (mut target, patch, expected) in cases {
            merge(&mut target, &patch);
            assert_eq!(target, expected, "patch {patch}");
        }
    }

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
