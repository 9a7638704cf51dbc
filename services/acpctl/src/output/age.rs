//! Ages, the way they are read at a glance.

/// From this age on a row is marked: its reporter, which measures every few seconds, has not said anything since.
pub(crate) const STALE_MS: u64 = 30_000;

const SECOND: u64 = 1_000;
const TENS: u64 = 10 * SECOND;
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

/// How long ago something was, in a sentence: exact where a second matters.
pub(crate) fn ago(ms: u64) -> String {
    match ms {
        0..TENS => format!("{}.{} s ago", ms / SECOND, ms % SECOND / 100),
        TENS.. => format!("{} ago", age(ms)),
    }
}

/// How long it still is until `at_ms`, both since the Unix epoch.
pub(crate) fn until(at_ms: u64, now_ms: u64) -> String {
    match at_ms.checked_sub(now_ms) {
        None | Some(0) => "expired".to_owned(),
        Some(left) => format!("in {}", age(left)),
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
    fn the_past_and_the_future_are_told_apart() {
        assert_eq!(ago(1_250), "1.2 s ago");
        assert_eq!(ago(65_000), "1m5s ago");
        assert_eq!(until(160_000, 100_000), "in 1m");
        assert_eq!(until(100_000, 100_000), "expired");
        assert_eq!(until(1, 100_000), "expired");
    }

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
