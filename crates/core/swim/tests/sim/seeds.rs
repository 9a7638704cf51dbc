//! Which seeds a case runs with.

/// The seeds of a case: so many, times what `ACP_SIM_SEEDS` says.
#[expect(clippy::disallowed_methods, reason = "how long a test runs is for whoever starts it to say")]
pub(crate) fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let times = std::env::var("ACP_SIM_SEEDS").map_or(1, |text| text.parse().expect("a number of times"));
    1..=count * times
}
