//! Figures and how they are printed.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

/// One measured figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// Our side, in `unit`.
    pub ours: f64,
    /// The other side, in `unit`; absent where there is none to compare with.
    pub peer: Option<f64>,
    /// Ours divided by the peer's.
    pub ratio: Option<f64>,
    /// The promise; absent: none is made. What it is compared with is up to the figure: see the constructors.
    pub limit: Option<f64>,
    /// The unit of `ours`, `peer` and, unless it is for the ratio, `limit`.
    pub unit: &'static str,
    /// Whether the promise holds.
    pub holds: bool,
}

impl Figure {
    /// The limit is for the ratio of ours to the peer's.
    pub fn ratio_at_most(name: &str, ours: f64, peer: f64, limit: f64, unit: &'static str) -> Self {
        let ratio = ours / peer;
        let (ours, peer) = (rounded(ours), Some(rounded(peer)));
        Self {
            name: name.to_owned(),
            ours,
            peer,
            ratio: Some(rounded(ratio)),
            limit: Some(limit),
            unit,
            holds: ratio <= limit,
        }
    }

    /// The limit is for the ratio of ours to the peer's, of what is the better the more it is.
    pub fn ratio_at_least(name: &str, ours: f64, peer: f64, limit: f64, unit: &'static str) -> Self {
        let holds = ours / peer >= limit;
        Self { limit: Some(limit), holds, ..Self::shown(name, ours, peer, unit) }
    }

    /// The limit for ours is the peer's plus something.
    pub fn at_most_more(name: &str, ours: f64, peer: f64, more: f64, unit: &'static str) -> Self {
        let limit = peer + more;
        let ratio = Some(rounded(ours / peer));
        let (ours_shown, peer_shown) = (rounded(ours), Some(rounded(peer)));
        let limit_shown = Some(rounded(limit));
        Self {
            name: name.to_owned(),
            ours: ours_shown,
            peer: peer_shown,
            ratio,
            limit: limit_shown,
            unit,
            holds: ours <= limit,
        }
    }

    /// The limit is for ours; there is no peer.
    pub fn at_most(name: &str, ours: f64, limit: f64, unit: &'static str) -> Self {
        let holds = ours <= limit;
        Self { name: name.to_owned(), ours: rounded(ours), peer: None, ratio: None, limit: Some(limit), unit, holds }
    }

    /// Nothing is promised, and there is no peer.
    pub fn measured(name: &str, ours: f64, unit: &'static str) -> Self {
        Self { name: name.to_owned(), ours: rounded(ours), peer: None, ratio: None, limit: None, unit, holds: true }
    }

    /// Nothing is promised; both sides are shown.
    pub fn shown(name: &str, ours: f64, peer: f64, unit: &'static str) -> Self {
        let ratio = Some(rounded(ours / peer));
        Self {
            name: name.to_owned(),
            ours: rounded(ours),
            peer: Some(rounded(peer)),
            ratio,
            limit: None,
            unit,
            holds: true,
        }
    }
}

/// All figures of one bench.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The bench's name.
    pub bench: &'static str,
    /// Its figures.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Whether every promise holds.
    pub fn holds(&self) -> bool {
        self.figures.iter().all(|figure| figure.holds)
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("figures are plain numbers and words")
    }

    /// A table for people.
    pub fn to_table(&self) -> String {
        let mut text = format!(
            "{:<34} {:>12} {:>12} {:>8} {:>12} {:<8} holds\n",
            self.bench, "ours", "peer", "ratio", "limit", "unit"
        );
        for figure in &self.figures {
            let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            let (peer, ratio, limit) = (number(figure.peer), number(figure.ratio), number(figure.limit));
            let holds = if figure.holds { "yes" } else { "NO" };
            writeln!(
                text,
                "{:<34} {:>12} {peer:>12} {ratio:>8} {limit:>12} {:<8} {holds}",
                figure.name, figure.ours, figure.unit
            )
            .expect("writing to a string");
        }
        text
    }
}

/// Three digits after the point are beyond what any of these measurements is worth.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The value that `share` of the samples do not exceed.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    assert!(!samples.is_empty(), "a percentile needs samples");
    samples.sort_by(f64::total_cmp);
    let mut rank = 0;
    // The count is far below the 52 bits that a float holds exactly.
    while rank + 1 < samples.len() && rank_share(rank + 1, samples.len()) <= share {
        rank += 1;
    }
    samples[rank]
}

fn rank_share(rank: usize, count: usize) -> f64 {
    let exact = |value: usize| f64::from(u32::try_from(value).expect("a bench takes far fewer samples"));
    exact(rank) / exact(count)
}

/// A duration in microseconds.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Bytes in megabytes of 10^6 bytes, the unit of the promises.
pub fn megabytes(bytes: u64) -> f64 {
    Duration::from_micros(bytes).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_series() {
        let mut samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut samples, 0.0), 1.0);
        assert_eq!(percentile(&mut samples, 0.5), 51.0);
        assert_eq!(percentile(&mut samples, 1.0), 100.0);
        assert_eq!(percentile(&mut [7.0], 0.5), 7.0);
    }

    #[test]
    fn each_limit_is_compared_with_what_it_is_for() {
        assert!(Figure::ratio_at_most("a", 19.0, 10.0, 2.0, "us").holds);
        assert!(!Figure::ratio_at_most("a", 21.0, 10.0, 2.0, "us").holds);
        assert!(Figure::ratio_at_least("a", 61.0, 100.0, 0.6, "MB/s").holds);
        assert!(!Figure::ratio_at_least("a", 59.0, 100.0, 0.6, "MB/s").holds);
        assert!(Figure::at_most_more("b", 159.0, 100.0, 60.0, "ms").holds);
        assert!(!Figure::at_most_more("b", 161.0, 100.0, 60.0, "ms").holds);
        assert!(!Figure::at_most("c", 8.1, 8.0, "MB").holds);
    }

    #[test]
    fn a_report_is_one_line_of_json() {
        let report = Report { bench: "x", figures: vec![Figure::at_most("c", 2_500_000.0 / 1e6, 8.0, "MB")] };
        let json = report.to_json();
        assert!(!json.contains('\n') && json.contains("\"ours\":2.5") && json.contains("\"peer\":null"), "{json}");
    }

    #[test]
    fn megabytes_are_decimal() {
        assert!((megabytes(70_500_000) - 70.5).abs() < 1e-9);
    }
}
