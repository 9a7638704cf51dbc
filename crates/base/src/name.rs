//! Object names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

/// The name of an object: 1 to 32 letters, digits, dots, underscores and dashes, beginning with a letter or digit.
///
/// The first character is restricted so that a name is never taken for an option by a command line nor for a hidden or
/// parent directory by a file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The longest name, in bytes. Long enough for a host name's first label, short enough for one table column.
    pub const LEN_MAX: usize = 32;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("a name needs at least one character")]
    Empty,
    /// More than [`Name::LEN_MAX`] bytes; the value is the length found.
    #[error("a name has at most {max} characters, this one has {0}", max = Name::LEN_MAX)]
    TooLong(usize),
    /// A character outside the set; the value is the first one found.
    #[error("a name consists of letters, digits, dot, underscore and dash, not {0:?}")]
    BadCharacter(char),
    /// The first character is neither letter nor digit.
    #[error("a name begins with a letter or a digit, not {0:?}")]
    BadStart(char),
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            return Err(NameError::BadCharacter(bad));
        }
        if text.len() > Self::LEN_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::BadStart(first));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_documented_set() {
        for good in ["a", "Z9", "demo", "a.b_c-d", "0", &"x".repeat(32)] {
            assert_eq!(good.parse::<Name>().expect(good).as_str(), good);
        }
    }

    #[test]
    fn refuses_everything_else_precisely() {
        assert_eq!("".parse::<Name>(), Err(NameError::Empty));
        assert_eq!("x".repeat(33).parse::<Name>(), Err(NameError::TooLong(33)));
        assert_eq!("../etc".parse::<Name>(), Err(NameError::BadCharacter('/')));
        assert_eq!("..".parse::<Name>(), Err(NameError::BadStart('.')));
        assert_eq!("-rf".parse::<Name>(), Err(NameError::BadStart('-')));
        assert_eq!("a b".parse::<Name>(), Err(NameError::BadCharacter(' ')));
        assert_eq!("ä".parse::<Name>(), Err(NameError::BadCharacter('ä')));
        assert_eq!("a\0".parse::<Name>(), Err(NameError::BadCharacter('\0')));
    }

    proptest::proptest! {
        #[test]
        fn any_text_either_parses_to_itself_or_is_refused(text in ".{0,40}") {
            if let Ok(name) = text.parse::<Name>() {
                proptest::prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
