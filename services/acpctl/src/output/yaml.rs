//! JSON values as YAML 1.2: block style, every string quoted that another reader might take for something else.

use serde_json::{Map, Value};

/// The value as a document without marker.
pub(super) fn render(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0),
        Value::Array(elements) if !elements.is_empty() => sequence(&mut out, elements, 0),
        _ => {
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
    out
}

fn mapping(out: &mut String, map: &Map<String, Value>, indent: usize) {
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 {
            pad(out, indent);
        }
        out.push_str(&text(key));
        out.push(':');
        nested(out, value, indent);
    }
}

/// What follows a key: on the same line, or below it.
fn nested(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            pad(out, indent + 2);
            mapping(out, map, indent + 2);
        }
        Value::Array(elements) if !elements.is_empty() => {
            out.push('\n');
            pad(out, indent);
            sequence(out, elements, indent);
        }
        _ => {
            out.push(' ');
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

fn sequence(out: &mut String, elements: &[Value], indent: usize) {
    for (at, element) in elements.iter().enumerate() {
        if at > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match element {
            Value::Object(map) if !map.is_empty() => mapping(out, map, indent + 2),
            Value::Array(inner) if !inner.is_empty() => sequence(out, inner, indent + 2),
            _ => {
                out.push_str(&scalar(element));
                out.push('\n');
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        // Numbers, booleans, null and empty collections are written as in JSON, which YAML contains.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A string without quotes if it cannot be read as anything else, otherwise as in JSON, which YAML contains.
fn text(string: &str) -> String {
    if is_plain(string) { string.to_owned() } else { Value::from(string).to_string() }
}

/// Words that some reader takes for a boolean or null (YAML 1.1 knows more of them).
const RESERVED: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "~"];

fn is_plain(string: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@');
    // A leading letter rules out numbers, dates, signs and every indicator.
    string.starts_with(|c: char| c.is_ascii_alphabetic())
        && string.chars().all(is_word)
        && !RESERVED.contains(&string.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nesting_is_written_in_blocks() {
        let value = json!([
            {"name": "demo", "spec": {"nics": [{"mac": "52:54:00:00:00:01", "network": "lan"}], "disks": [], "cpus": 2}},
            {"name": "x", "status": null, "list": [[1, 2], {}], "ok": true},
        ]);
        let expected = "\
- name: demo
  spec:
    cpus: 2
    disks: []
    nics:
    - mac: \"52:54:00:00:00:01\"
      network: lan
- list:
  - - 1
    - 2
  - {}
  name: x
  ok: true
  status: null
";
        assert_eq!(render(&value), expected);
    }

    #[test]
    fn strings_that_could_be_something_else_are_quoted() {
        for quoted in [
            "",
            "no",
            "Yes",
            "NULL",
            "~",
            "1",
            "1.5",
            "0x10",
            "-a",
            "a: b",
            "a #b",
            "- x",
            "[x]",
            "{x}",
            "&a",
            "*a",
            "!t",
            "%d",
            "@at",
            "`b",
            "a\nb",
            " a",
            "a ",
            "ä",
            "'q'",
            "\"q\"",
            "2026-11-21",
            ".inf",
            "?",
        ] {
            let written = render(&json!(quoted));
            assert!(written.starts_with('"') && written.ends_with("\"\n"), "{quoted:?} became {written}");
        }
        for plain in ["demo", "default/disk", "hypervisor@n1", "a_b-c.d", "qcow2"] {
            assert_eq!(render(&json!(plain)), format!("{plain}\n"));
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(render(&json!({"k y": "a\u{1}\t\"\\"})), "\"k y\": \"a\\u0001\\t\\\"\\\\\"\n");
    }

    proptest::proptest! {
        #[test]
        fn a_string_is_always_one_line(string in "\\PC{0,20}|[\\x00-\\x7f]{0,10}") {
            let written = render(&json!({ "key": string }));
            proptest::prop_assert_eq!(written.matches('\n').count(), 1);
            proptest::prop_assert!(written.starts_with("key: "));
        }
    }
}
