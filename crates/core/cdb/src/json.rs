//! JSON kept as text: what is sent a thousand times is written once.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// A JSON value as its text, valid by construction, shared by everybody who holds it. Equal values that were written the same
/// way are equal; keys of objects are sorted, so values of one origin are written the same way.
#[derive(Clone, Debug)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// The value as text.
    pub fn new(value: &Value) -> Self {
        Self(Arc::from(to_raw_value(value).expect("a JSON value is written as JSON")))
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The value again.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(self.text()).expect("it was written from a value")
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Serialize for Json {
    /// Passes the text on as it is; only `serde_json` understands that.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_survives_its_text() {
        for value in [json!({"b": [1, -2.5, null], "a": {"c": "\u{7}\"ä"}}), json!({}), json!(null), json!(u64::MAX)] {
            let text = Json::new(&value);
            assert_eq!(text.to_value(), value);
            assert_eq!(serde_json::to_string(&text).expect("text"), value.to_string());
        }
        assert_eq!(Json::new(&json!({"b": 1, "a": 2})), Json::new(&json!({"a": 2, "b": 1})));
        assert_ne!(Json::new(&json!(1)), Json::new(&json!(2)));
    }
}
