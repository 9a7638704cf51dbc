//! Times as people write them.

use std::{fmt, str::FromStr, time::Duration};

/// A time span: a whole number and `ms`, `s`, `m` or `h`; without a unit, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// The time in milliseconds.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let wrong = || format!("{text:?} is no time: write a number and ms, s, m or h, like 30s");
        let number: u64 = number.parse().map_err(|_no_number| wrong())?;
        let unit_ms = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit_ms).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(wrong)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_refuses_the_rest() {
        let ms = |text: &str| text.parse::<Span>().map(|span| span.0.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("30"), Ok(30_000));
        assert_eq!(ms("30s"), Ok(30_000));
        assert_eq!(ms("2m"), Ok(120_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        for bad in ["", "s", "-1s", "1.5s", "1d", "99999999999999999999", "18446744073709551615h"] {
            assert!(ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read_exactly_or_not_at_all() {
        acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "duration", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            match text.parse::<Span>() {
                Ok(span) => assert_eq!(format!("{}ms", span.0.as_millis()).parse(), Ok(span)),
                Err(error) => assert!(error.contains(&format!("{text:?}")), "{error} does not repeat {text:?}"),
            }
        });
    }
}
