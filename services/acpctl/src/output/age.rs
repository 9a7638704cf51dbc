//! Ages, the way they are read at a glance.

/// From this age on a row is marked: its reporter, which measures every few seconds, has not said anything since.
pub(crate) const STALE_MS: u64 = 30_000;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// An age in its largest unit, and below ten of it in the next one, too.
pub(crate) fn age(ms: u64) -> String {
    match ms {
        0..MINUTE => format!("{}s", ms / SECOND),
        MINUTE..HOUR => two(ms, MINUTE, "m", SECOND, "s"),
        HOUR..DAY => two(ms, HOUR, "h", MINUTE, "m"),
        DAY.. => two(ms, DAY, "d", HOUR, "h"),
    }
}

fn two(ms: u64, unit: u64, name: &str, next: u64, next_name: &str) -> String {
    let (whole, rest) = (ms / unit, ms % unit / next);
    if whole < 10 && rest > 0 { format!("{whole}{name}{rest}{next_name}") } else { format!("{whole}{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (ms, expected) in [
            (0, "0s"),
            (999, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (11 * MINUTE + 5 * SECOND, "11m"),
            (2 * HOUR + 5 * MINUTE, "2h5m"),
            (23 * HOUR + 59 * MINUTE, "23h"),
            (3 * DAY + 4 * HOUR, "3d4h"),
            (400 * DAY, "400d"),
        ] {
            assert_eq!(age(ms), expected);
        }
    }
}
