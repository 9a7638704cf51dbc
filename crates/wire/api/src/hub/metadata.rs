//! Metadata of nodes: what an operator notes of each under names, like `zone` or `ssd`.

use std::{collections::BTreeMap, convert::Infallible, fmt, str::FromStr};

use acp_base::Name;
use serde::{Deserialize, Deserializer, Serialize, de};
use zlink::{idl, introspect::Type};

/// What is noted of a node: values of three types under names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Metadata(pub BTreeMap<Name, MetaValue>);

impl Metadata {
    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Type for Metadata {
    const TYPE: &'static idl::Type<'static> = <BTreeMap<String, MetaValue>>::TYPE;
}

/// `NAME=VALUE`, with blanks between.
impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&shown.join(" "))
    }
}

/// A value: in JSON a boolean, a whole number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum MetaValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

impl Type for MetaValue {
    const TYPE: &'static idl::Type<'static> = &idl::Type::ForeignObject;
}

impl<'de> Deserialize<'de> for MetaValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

/// Reads a value by its type, and says what there can be if it is of none.
struct Reading;

impl de::Visitor<'_> for Reading {
    type Value = MetaValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number of 64 bits, true or false")
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<MetaValue, E> {
        Ok(MetaValue::Flag(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<MetaValue, E> {
        Ok(MetaValue::Number(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<MetaValue, E> {
        let unfit = |_too_large| de::Error::invalid_value(de::Unexpected::Unsigned(number), &self);
        i64::try_from(number).map(MetaValue::Number).map_err(unfit)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MetaValue, E> {
        Ok(MetaValue::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<MetaValue, E> {
        Ok(MetaValue::Text(text))
    }
}

/// As people type it: `true`, `false`, a whole number, else a text; in double quotes it is a text in any case.
impl FromStr for MetaValue {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Ok(match (quoted, text.parse(), text.parse()) {
            (Some(inner), _, _) => Self::Text(inner.to_owned()),
            (None, Ok(flag), _) => Self::Flag(flag),
            (None, Err(_), Ok(number)) => Self::Number(number),
            (None, Err(_), Err(_)) => Self::Text(text.to_owned()),
        })
    }
}

/// So that reading it again makes the same value: a text that would be another one stands in double quotes.
impl fmt::Display for MetaValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) if text.parse::<Self>().as_ref() == Ok(self) => f.write_str(text),
            Self::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

/// See [`SetMetadata`](super::SetMetadata).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct MetadataRequest {
    /// The node's name.
    pub name: Name,
    /// What is noted from now on; other values stay as they are. A text has at most 256 bytes and no control characters; a node
    /// has at most 32 values.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub set: Metadata,
    /// The names of values that are forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<Name>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> MetaValue {
        let Ok(value) = text.parse();
        value
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_value() {
        let values = [
            MetaValue::Flag(true),
            MetaValue::Flag(false),
            MetaValue::Number(i64::MIN),
            MetaValue::Number(0),
            MetaValue::Number(i64::MAX),
        ];
        let texts = [
            "",
            "a",
            "west 1",
            "true",
            "12",
            "-3",
            "+3",
            "1.5",
            "\"",
            "\"\"",
            "\"a",
            "yes",
            "99999999999999999999",
            "ä=b",
        ];
        for value in values.into_iter().chain(texts.map(|text| MetaValue::Text(text.to_owned()))) {
            assert_eq!(read(&value.to_string()), value, "{value}");
            let written = serde_json::to_string(&value).expect("JSON");
            assert_eq!(serde_json::from_str::<MetaValue>(&written).expect("it reads back"), value, "{written}");
        }
        assert_eq!(
            [read("true"), read("12"), read("a")].map(|value| json!(value)),
            [json!(true), json!(12), json!("a")]
        );
        assert_eq!(read("\"12\""), MetaValue::Text("12".to_owned()));
    }

    #[test]
    fn what_is_of_no_type_is_refused_with_those_that_there_are() {
        for bad in [json!(1.5), json!(null), json!([1]), json!({"a": 1}), json!(u64::MAX)] {
            let said = serde_json::from_value::<MetaValue>(bad).expect_err("no value").to_string();
            assert!(said.contains("a text, a whole number of 64 bits, true or false"), "{said}");
        }
    }
}
