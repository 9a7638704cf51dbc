//! Metadata of nodes as people write it.

use std::str::FromStr;

use acp_base::Name;
use acp_wire_api::{
    cluster::SelectorOp,
    hub::{MetaCondition, MetaValue},
};

/// A value under its name: `zone=a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueArg(pub Name, pub MetaValue);

impl FromStr for ValueArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form NAME=VALUE"))?;
        Ok(Self(named(name)?, read(value)))
    }
}

/// A condition: `zone=a` or `zone!=a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionArg(pub MetaCondition);

impl FromStr for ConditionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not of the form NAME=VALUE or NAME!=VALUE");
        let (name, value) = text.split_once('=').ok_or_else(form)?;
        let (name, op) = match name.strip_suffix('!') {
            Some(name) => (name, SelectorOp::Ne),
            None => (name, SelectorOp::Eq),
        };
        Ok(Self(MetaCondition { name: named(name)?, op, value: read(value) }))
    }
}

fn named(text: &str) -> Result<Name, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn read(text: &str) -> MetaValue {
    let Ok(value) = text.parse();
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_names_and_types() {
        let read = |text: &str| text.parse::<ValueArg>().map(|ValueArg(name, value)| (name.to_string(), value));
        let is = |name: &str, value| Ok((name.to_owned(), value));
        assert_eq!(read("ssd=true"), is("ssd", MetaValue::Flag(true)));
        assert_eq!(read("rack=12"), is("rack", MetaValue::Number(12)));
        assert_eq!(read("rack=\"12\""), is("rack", MetaValue::Text("12".to_owned())));
        assert_eq!(read("note=a=b c"), is("note", MetaValue::Text("a=b c".to_owned())));
        assert_eq!(read("note="), is("note", MetaValue::Text(String::new())));
        for bad in ["zone", "=a", "a b=c", "zone!=a"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn conditions_are_equal_or_not() {
        let read =
            |text: &str| text.parse::<ConditionArg>().map(|ConditionArg(condition)| (condition.op, condition.value));
        assert_eq!(read("zone=a"), Ok((SelectorOp::Eq, MetaValue::Text("a".to_owned()))));
        assert_eq!(read("rack!=-3"), Ok((SelectorOp::Ne, MetaValue::Number(-3))));
        assert!(read("zone").is_err_and(|said| said.contains("NAME!=VALUE")));
        assert!(read("!=a").is_err());
    }
}
