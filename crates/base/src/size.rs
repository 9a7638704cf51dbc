//! Sizes in bytes, as people write them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A number of bytes. On the wire it is the plain number; people write and read it with a binary unit (`256MiB`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl ByteSize {
    /// This many mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// This many gibibytes.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Why a text is not a [`ByteSize`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ByteSizeError {
    /// The number part is missing, negative or no number.
    #[error("{0:?} is no size: write a number and a unit, like 256MiB or 2GiB")]
    NotANumber(String),
    /// The unit is unknown.
    #[error("{0:?} is no unit of size: use B, KiB, MiB, GiB or TiB (K, M, G and T mean the same)")]
    UnknownUnit(String),
    /// The size does not fit into 64 bits.
    #[error("the size {0:?} is too large")]
    TooLarge(String),
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        if number.is_empty() {
            return Err(ByteSizeError::NotANumber(text.to_owned()));
        }
        let number: u64 = number.parse().map_err(|_overflow| ByteSizeError::TooLarge(text.to_owned()))?;
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            _ => return Err(ByteSizeError::UnknownUnit(unit.trim().to_owned())),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| ByteSizeError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that leaves at least one; exact sizes without a fraction, others with one digit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = UNITS.iter().find(|(_, shift)| self.0 >> shift > 0).unwrap_or(&UNITS[4]);
        let whole = self.0 >> shift;
        let rest = self.0 - (whole << shift);
        let text = if rest == 0 {
            format!("{whole}{unit}")
        } else {
            let tenths = (u128::from(rest) * 10) >> shift;
            format!("{whole}.{tenths}{unit}")
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_people_write() {
        assert_eq!("256MiB".parse(), Ok(ByteSize::mib(256)));
        assert_eq!("2g".parse(), Ok(ByteSize::gib(2)));
        assert_eq!(" 1 T ".parse(), Ok(ByteSize::gib(1024)));
        assert_eq!("512".parse(), Ok(ByteSize(512)));
    }

    #[test]
    fn refuses_the_rest() {
        assert_eq!("-5".parse::<ByteSize>(), Err(ByteSizeError::NotANumber("-5".into())));
        assert_eq!("5MB".parse::<ByteSize>(), Err(ByteSizeError::UnknownUnit("MB".into())));
        assert_eq!("99999999999T".parse::<ByteSize>(), Err(ByteSizeError::TooLarge("99999999999T".into())));
        assert_eq!(
            "99999999999999999999".parse::<ByteSize>(),
            Err(ByteSizeError::TooLarge("99999999999999999999".into()))
        );
    }

    #[test]
    fn prints_the_nearest_unit() {
        assert_eq!(ByteSize::mib(256).to_string(), "256MiB");
        assert_eq!(ByteSize(1536 << 20).to_string(), "1.5GiB");
        assert_eq!(ByteSize(0).to_string(), "0B");
    }
}
