//! Conditions on objects.

use serde_json::Value;

use crate::{limits::SELECTORS_MAX, refusal::Refusal, view::View};

/// How a [`Selector`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal, or not there.
    NotEqual,
}

/// A condition: the value at a path, compared as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    target: Target,
    comparison: Comparison,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Name,
    Uid,
    Spec(Vec<String>),
    Meta(Vec<String>),
}

impl Selector {
    /// The condition on `name`, `uid`, or a path of keys with dots below `spec` or `meta`; a number is a place in a list.
    ///
    /// # Errors
    /// `InvalidArgument` for any other path.
    pub fn new(path: &str, comparison: Comparison, value: String) -> Result<Self, Refusal> {
        let mut keys = path.split('.');
        let head = keys.next().unwrap_or_default();
        let keys: Vec<String> = keys.map(str::to_owned).collect();
        let is_path = !keys.is_empty() && keys.iter().all(|key| !key.is_empty());
        let target = match head {
            "name" if keys.is_empty() => Target::Name,
            "uid" if keys.is_empty() => Target::Uid,
            "spec" if is_path => Target::Spec(keys),
            "meta" if is_path => Target::Meta(keys),
            _ => {
                let message =
                    format!("{path:?} selects nothing: use name, uid, or keys below spec or meta, like spec.node");
                return Err(Refusal::invalid(message));
            }
        };
        Ok(Self { target, comparison, value })
    }

    /// Refuses more conditions than are taken at once.
    ///
    /// # Errors
    /// `InvalidArgument` naming the bound.
    pub fn check_count(count: usize) -> Result<(), Refusal> {
        if count > SELECTORS_MAX {
            return Err(Refusal::invalid(format!("{count} selectors; at most {SELECTORS_MAX} are taken")));
        }
        Ok(())
    }

    /// Whether it looks at what is reported, which the log does not hold.
    pub const fn is_on_reports(&self) -> bool {
        matches!(self.target, Target::Meta(_))
    }

    /// Whether the condition holds.
    pub fn matches(&self, view: &View) -> bool {
        let is_equal = match &self.target {
            Target::Name => *view.name == *self.value,
            Target::Uid => view.uid.to_string() == self.value || view.uid.simple() == self.value,
            Target::Spec(keys) => view.record.as_ref().is_some_and(|record| self.equals(&record.value, keys)),
            Target::Meta(keys) => view.meta().is_some_and(|meta| self.equals(&meta.data.to_value(), keys)),
        };
        is_equal == (self.comparison == Comparison::Equal)
    }

    fn equals(&self, root: &Value, keys: &[String]) -> bool {
        let found = keys.iter().try_fold(root, |value, key| match value {
            Value::Object(map) => map.get(key),
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        });
        match found {
            Some(Value::String(text)) => *text == self.value,
            Some(Value::Number(number)) => number.to_string() == self.value,
            Some(Value::Bool(flag)) => flag.to_string() == self.value,
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use acp_base::{BootInstant, Uid};
    use acp_wire_model::{Kind, object::Facet};
    use serde_json::json;

    use super::*;
    use crate::{json::Json, spec::Spec, state::Record, view::SlotRecord, view::SlotView};

    fn slot(reporter: &str, at: u64, state: &str) -> SlotView {
        let stood = BootInstant::from_millis(at);
        let slot = Arc::new(SlotRecord {
            origin: None,
            reporter: reporter.into(),
            facet: Facet::Meta,
            incarnation: 1,
            sequence: 1,
            received: stood,
            data: Json::new(&json!({"state": state})),
        });
        SlotView { slot, stood }
    }

    #[test]
    fn compares_every_kind_of_value_as_text() {
        let value = json!({"node": "n1", "cpus": 2, "autostart": true, "nics": [{"mac": "x"}], "none": null});
        let (uid, spec) = (Uid::from_u128(5), Spec::Node(acp_wire_model::node::NodeSpec::default()));
        let record = Record::new(Kind::System, "a".parse().expect("valid"), uid, 1, value, spec);
        let slots = vec![slot("b@n1", 5, "running"), slot("a@n1", 9, "stopped")];
        let view = View { kind: Kind::System, name: "a".into(), uid, record: Some(Arc::new(record)), slots };
        let holds = |path: &str, comparison, value: &str| {
            Selector::new(path, comparison, value.into()).expect(path).matches(&view)
        };
        let yes = [
            ("name", "a"),
            ("uid", "00000000-0000-0000-0000-000000000005"),
            ("spec.node", "n1"),
            ("spec.cpus", "2"),
            ("spec.autostart", "true"),
            ("spec.nics.0.mac", "x"),
            ("meta.state", "stopped"),
        ];
        for (path, value) in yes {
            assert!(holds(path, Comparison::Equal, value) && !holds(path, Comparison::NotEqual, value), "{path}");
            assert!(!holds(path, Comparison::Equal, "other") && holds(path, Comparison::NotEqual, "other"), "{path}");
        }
        for absent in ["spec.x", "spec.none", "spec.nics.1.mac", "spec.node.deeper", "meta.x", "spec.nics"] {
            assert!(
                !holds(absent, Comparison::Equal, "null") && holds(absent, Comparison::NotEqual, "null"),
                "{absent}"
            );
        }
    }

    #[test]
    fn refuses_paths_that_lead_nowhere() {
        for bad in ["", "spec", "spec.", "spec..a", "name.x", "stats.cpu", "slots"] {
            assert!(Selector::new(bad, Comparison::Equal, String::new()).is_err(), "{bad}");
        }
        let is_on_reports = |path| Selector::new(path, Comparison::Equal, String::new()).expect(path).is_on_reports();
        assert!(is_on_reports("meta.state") && !["name", "uid", "spec.node"].into_iter().any(is_on_reports));
        assert!(Selector::check_count(16).is_ok() && Selector::check_count(17).is_err());
    }
}
