//! One value as a short text.

use acp_base::{ByteSize, WallTime};
use serde_json::Value;

use super::{STALE_MS, age, until};

/// How a value is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As it is.
    Plain,
    /// A state, coloured by what it means.
    State,
    /// A number of bytes.
    Bytes,
    /// Milliseconds of processor time.
    CpuTime,
    /// Percent, without fraction.
    Percent,
    /// Milliseconds since the Unix epoch, as the time since then.
    Since,
    /// Milliseconds since the Unix epoch, as the time until then.
    Until,
    /// Milliseconds since the Unix epoch, as universal time.
    Instant,
    /// The elements, joined.
    Joined,
    /// The beginning of a digest.
    Digest,
    /// The number of elements.
    Count,
    /// The values below these keys of each element, joined.
    Each(&'static str),
    /// The row's age in milliseconds; marked when it is stale.
    Age,
}

/// What a text tells about its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing in particular.
    Neutral,
    /// All is well.
    Good,
    /// On its way, or not quite.
    Watch,
    /// Somebody should look.
    Bad,
}

impl Tone {
    /// The SGR code of the tone's colour.
    pub(crate) fn colour(self) -> Option<&'static str> {
        match self {
            Self::Neutral => None,
            Self::Good => Some("32"),
            Self::Watch => Some("33"),
            Self::Bad => Some("31"),
        }
    }

    fn of_state(state: &str) -> Self {
        match state {
            "running" | "ready" | "up" | "online" | "succeeded" => Self::Good,
            "failed" | "degraded" | "backoff" | "offline" | "down" => Self::Bad,
            "stopped" | "cancelled" | "parked" | "" => Self::Neutral,
            _ => Self::Watch,
        }
    }
}

/// A text of a table, with its tone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// What stands where there is nothing to say.
const NOTHING: &str = "-";

/// What stands for a state that nobody has told.
const UNKNOWN: &str = "?";

/// Digits of a digest that are shown; enough to tell images apart by eye.
const DIGEST_DIGITS: usize = 12;

impl Style {
    /// The value as a cell; `now_ms` is the time since the Unix epoch, `row` the whole row.
    pub(super) fn cell(self, value: Option<&Value>, row: &Value, now_ms: u64) -> Cell {
        let text = value.and_then(|value| self.text(value, now_ms)).filter(|text| !text.is_empty());
        let tone = match (self, &text) {
            (Self::State, Some(text)) => Tone::of_state(text),
            (Self::Age, Some(_)) if is_stale(row) => Tone::Watch,
            _ => Tone::Neutral,
        };
        let is_unsaid = self == Self::State && row["status"].is_null();
        let mut text = text.unwrap_or_else(|| if is_unsaid { UNKNOWN } else { NOTHING }.to_owned());
        if self == Self::Age && is_stale(row) {
            text.push_str(" stale");
        }
        Cell { text, tone }
    }

    fn text(self, value: &Value, now_ms: u64) -> Option<String> {
        match self {
            Self::Plain | Self::State => Some(plain(value)),
            Self::Bytes => value.as_u64().map(|bytes| ByteSize(bytes).to_string()),
            Self::CpuTime => value.as_u64().map(|ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100)),
            Self::Percent => value.as_f64().map(|percent| format!("{percent:.0}%")),
            Self::Since => value.as_u64().map(|ms| age(now_ms.saturating_sub(ms))),
            Self::Until => value.as_u64().map(|ms| until(ms, now_ms)),
            Self::Instant => value.as_u64().map(|ms| WallTime(ms).to_string()),
            Self::Joined => value.as_array().map(|elements| elements.iter().map(plain).collect::<Vec<_>>().join(",")),
            Self::Digest => value.as_str().map(|digest| digest.chars().take(DIGEST_DIGITS).collect()),
            Self::Count => value.as_array().map(|elements| elements.len().to_string()),
            Self::Each(key) => value.as_array().map(|elements| each(elements, key)),
            Self::Age => value.as_u64().map(age),
        }
    }
}

/// Only a row that is measured all the time can be stale: others are said when they change.
fn is_stale(row: &Value) -> bool {
    row["stats"].is_object() && row["age_ms"].as_u64().is_some_and(|age| age > STALE_MS)
}

fn each(elements: &[Value], key: &str) -> String {
    let texts: Vec<_> = elements.iter().map(|element| plain(&element[key])).filter(|text| !text.is_empty()).collect();
    texts.join(",")
}

/// A value as people write it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => one_line(text),
        Value::Number(number) => number.to_string(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Text of others must not steer the terminal nor break the table.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(style: Style, value: Value) -> String {
        style.cell(Some(&value), &Value::Null, 100_000).text
    }

    #[test]
    fn values_are_read_by_their_style() {
        assert_eq!(text(Style::Bytes, json!(268_435_456)), "256MiB");
        assert_eq!(text(Style::Bytes, json!("x")), "-");
        assert_eq!(text(Style::CpuTime, json!(1234)), "1.2s");
        assert_eq!(text(Style::Percent, json!(12.6)), "13%");
        assert_eq!(text(Style::Since, json!(40_000)), "1m");
        assert_eq!(text(Style::Since, json!(140_000)), "0s");
        assert_eq!(text(Style::Until, json!(140_000)), "in 40s");
        assert_eq!(text(Style::Until, json!(40_000)), "expired");
        assert_eq!(text(Style::Instant, json!(1_795_296_892_345_u64)), "2026-11-21T21:34:52Z");
        assert_eq!(text(Style::Joined, json!(["a", "b"])), "a,b");
        assert_eq!(text(Style::Joined, json!([])), "-");
        assert_eq!(text(Style::Digest, json!("0123456789abcdef")), "0123456789ab");
        assert_eq!(text(Style::Count, json!([1, 2])), "2");
        assert_eq!(text(Style::Each("network"), json!([{"network": "a"}, {"network": "b"}, {}])), "a,b");
        assert_eq!(text(Style::Plain, json!(true)), "yes");
        assert_eq!(text(Style::Plain, Value::Null), "-");
        assert_eq!(text(Style::Plain, json!("a\u{1b}[2Jb\n")), "a [2Jb ");
    }

    #[test]
    fn only_what_is_measured_can_be_stale() {
        let cell = |row: Value| Style::Age.cell(row.get("age_ms"), &row, 0);
        assert_eq!(cell(json!({"age_ms": 31_000, "stats": {}})), Cell { text: "31s stale".into(), tone: Tone::Watch });
        assert_eq!(cell(json!({"age_ms": 29_000, "stats": {}})), Cell { text: "29s".into(), tone: Tone::Neutral });
        assert_eq!(cell(json!({"age_ms": 99_000, "stats": null})), Cell { text: "1m39s".into(), tone: Tone::Neutral });
        assert_eq!(cell(json!({"age_ms": null})), Cell { text: "-".into(), tone: Tone::Neutral });
    }
}
