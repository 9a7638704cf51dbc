//! One object for people: its head, then spec, status and stats, each value with its unit.

use std::fmt::Write;

use acp_base::{ByteSize, WallTime};
use serde_json::{Map, Value};

use super::{age, cell::plain};

const HEAD: [&str; 6] = ["name", "kind", "uid", "version", "reporter", "age_ms"];
const SECTIONS: [(&str, &str); 3] = [("spec", "Spec"), ("status", "Status"), ("stats", "Stats")];

/// Renders an object as seen by [`crate::view`].
pub(super) fn render(object: &Value) -> String {
    let mut out = String::new();
    let head: Vec<Field<'_>> = HEAD.iter().filter_map(|key| Some((*key, object.get(*key)?))).collect();
    fields(&mut out, &head, 0);
    for (key, title) in SECTIONS {
        if let Some(section) = object[key].as_object().filter(|section| !section.is_empty()) {
            out.push_str(&format!("{title}:\n"));
            fields(&mut out, &members(section), 2);
        }
    }
    out
}

/// A key and its value.
type Field<'a> = (&'a str, &'a Value);

fn members(map: &Map<String, Value>) -> Vec<Field<'_>> {
    map.iter().map(|(key, value)| (key.as_str(), value)).collect()
}

fn fields(out: &mut String, fields: &[Field<'_>], indent: usize) {
    let shown = || fields.iter().filter(|(_, value)| !is_nothing(value));
    let width = shown().map(|(key, _)| title(key).len()).max().unwrap_or_default() + 1;
    for (key, value) in shown() {
        let label = format!("{:indent$}{:<width$}", "", format!("{}:", title(key)));
        match value {
            Value::Object(map) => {
                out.push_str(&format!("{}\n", label.trim_end()));
                self::fields(out, &members(map), indent + 2);
            }
            Value::Array(elements) if elements.iter().any(Value::is_object) => {
                out.push_str(&format!("{}\n", label.trim_end()));
                elements.iter().for_each(|element| self::element(out, element, indent + 2));
            }
            _ => writeln!(out, "{label} {}", scalar(key, value)).expect("a string takes everything"),
        }
    }
}

/// One element of a list, its first line marked by a dash.
fn element(out: &mut String, element: &Value, indent: usize) {
    let mut text = String::new();
    match element.as_object() {
        Some(map) => fields(&mut text, &members(map), indent + 2),
        None => text.push_str(&format!("{:1$}{2}\n", "", indent + 2, plain(element))),
    }
    text.replace_range(indent..=indent, "-");
    out.push_str(&text);
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `memory_bytes` is titled `Memory`.
fn title(key: &str) -> String {
    let unitless = ["_bytes", "_ms", "_percent"].iter().find_map(|unit| key.strip_suffix(unit)).unwrap_or(key);
    let mut words = unitless.replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

fn scalar(key: &str, value: &Value) -> String {
    let number = value.as_u64();
    let text = match key {
        "age_ms" => number.map(age),
        "since_ms" | "started_ms" | "ended_ms" | "joined_ms" | "time_ms" => number.map(|ms| WallTime(ms).to_string()),
        _ if key.ends_with("_bytes") => number.map(|bytes| ByteSize(bytes).to_string()),
        _ if key.ends_with("_ms") => number.map(|ms| format!("{}.{:03}s", ms / 1000, ms % 1000)),
        _ if key.ends_with("_percent") => value.as_f64().map(|percent| format!("{percent:.1}%")),
        "percent" => number.map(|percent| format!("{percent}%")),
        _ if key.ends_with("_s") => number.map(|seconds| age(seconds.saturating_mul(1000))),
        _ => None,
    };
    text.unwrap_or_else(|| plain(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_shown_in_sections_with_units() {
        let object = json!({
            "kind": "system", "name": "demo", "uid": "u", "version": 3, "age_ms": 1500, "reporter": "hypervisor@n1",
            "spec": {"cpus": 2, "memory_bytes": 268_435_456, "autostart": false,
                     "nics": [{"network": "default", "mac": "52:54:00:00:00:01"}], "disks": []},
            "status": {"state": "running", "reason": "", "since_ms": 1_795_296_892_000_u64},
            "stats": {"cpu_percent": 3.25, "memory_bytes": 1024},
        });
        let expected = "\
Name:     demo
Kind:     system
Uid:      u
Version:  3
Reporter: hypervisor@n1
Age:      1s
Spec:
  Autostart: no
  Cpus:      2
  Memory:    256MiB
  Nics:
    - Mac:     52:54:00:00:00:01
      Network: default
Status:
  Since: 2026-11-21T21:34:52Z
  State: running
Stats:
  Cpu:    3.2%
  Memory: 1KiB
";
        assert_eq!(render(&object), expected);
    }

    #[test]
    fn an_object_that_nobody_reports_has_no_empty_sections() {
        let object = json!({"name": "x", "spec": {}, "status": null, "stats": null, "age_ms": null});
        assert_eq!(render(&object), "Name: x\n");
    }

    #[test]
    fn lists_of_anything_are_shown() {
        let object = json!({"name": "x", "status": {"mixed": [{"a": 1}, "b"], "words": ["c", "d"]}});
        assert_eq!(render(&object), "Name: x\nStatus:\n  Mixed:\n    - A: 1\n    - b\n  Words: [\"c\",\"d\"]\n");
    }
}
