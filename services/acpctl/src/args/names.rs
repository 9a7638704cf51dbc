//! Lists of names as people write them.

use std::str::FromStr;

use acp_base::Name;

/// Names with commas between; an empty text is an empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<Name>);

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let names = text.split(',').map(|name| name.trim().parse().map_err(|error| format!("{error}")));
        names.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_be_empty_but_its_names_may_not() {
        let read = |text: &str| text.parse::<Names>().map(|Names(names)| names.len());
        assert_eq!((read(""), read("a"), read("a, b,c")), (Ok(0), Ok(1), Ok(3)));
        for bad in [",", "a,", "a b", "../x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
