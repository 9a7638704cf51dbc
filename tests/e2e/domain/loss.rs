//! S2: every node loses packets.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::quorum::{
    Five,
    five::{NODES, name},
};

/// How long packets are lost, unless [`LENGTH`] says otherwise.
const IN_THE_GATE: Duration = Duration::from_secs(15);
/// The setting that says how many seconds.
const LENGTH: &str = "ACP_LOSS_SECONDS";
/// How often it is looked what was concluded.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) fn length() -> Result<Option<Duration>> {
    match std::env::var(LENGTH) {
        Ok(text) => Ok(Some(Duration::from_secs(text.parse().with_context(|| format!("{LENGTH} is {text:?}"))?))),
        Err(_not_set) => Ok(None),
    }
}

/// What rings and hubs of all nodes have concluded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Concluded {
    /// By a ring: held for dead, or for suspect.
    ring_down: f64,
    suspected: f64,
    /// By the hub that leads: dead, or anything but online.
    pub(super) down: f64,
    not_online: f64,
}

impl Concluded {
    pub(super) fn so_far(five: &Five) -> Result<Self> {
        let mut sum = Self::default();
        for number in NODES {
            let ring = |held: &str| five.metric(number, "cluster", "acp_cluster_ring_changes_total", held);
            sum.ring_down += ring("\"down\"")?;
            sum.suspected += ring("\"suspect\"")?;
            let verdicts = |word: &str| five.metric(number, "hub", "acp_hub_verdicts_total", word);
            sum.down += verdicts("\"down\"")?;
            sum.not_online += verdicts("verdict")? - verdicts("\"online\"")?;
        }
        Ok(sum)
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            ring_down: self.ring_down - before.ring_down,
            suspected: self.suspected - before.suspected,
            down: self.down - before.down,
            not_online: self.not_online - before.not_online,
        }
    }
}

/// Every node loses this share of what it sends and of what it receives, and what is concluded meanwhile must be fine.
fn lossy(five: &Five, percent: u8, is_fine: impl Fn(&Concluded) -> bool) -> Result<()> {
    super::wait_multicast(five)?;
    let before = Concluded::so_far(five)?;
    for number in NODES {
        five.lab().lose(name(number)?, format!("{percent}%").parse()?)?;
    }
    let (since, length) = (Instant::now(), length()?.unwrap_or(IN_THE_GATE));
    while since.elapsed() < length {
        thread::park_timeout(LOOK_EVERY.min(length));
        let concluded = Concluded::so_far(five)?.since(before);
        ensure!(is_fine(&concluded), "{concluded:?} after {:?}", since.elapsed());
    }
    five.heal()
}

/// One packet in ten of each pair, one way: both of its ends lose one in twenty.
pub(super) fn a_tenth(five: &Five) -> Result<()> {
    // A machine that others use up stands still for as long as a probe takes.
    let is_alone = length()?.is_some();
    lossy(five, 5, |seen| seen.not_online == 0.0 && seen.ring_down == 0.0 && (!is_alone || seen.suspected == 0.0))
}

/// Three packets in ten: both ends lose one in six.
pub(super) fn three_tenths(five: &Five) -> Result<()> {
    lossy(five, 16, |seen| seen.down == 0.0)
}
