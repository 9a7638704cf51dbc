//! Many clients at once, each with one call at a time, for a while.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figure::{micros, percentile};

/// What clients have done in some time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// The microseconds of every call.
    times: Vec<f64>,
    seconds: f64,
}

impl Done {
    /// Adds a round to those before.
    pub(crate) fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.seconds += other.seconds;
    }

    /// Calls in a second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.times.len()).unwrap_or(u32::MAX)) / self.seconds
    }

    /// The microseconds that this share of the calls did not exceed.
    pub(crate) fn within(&self, share: f64) -> f64 {
        percentile(&mut self.times.clone(), share)
    }
}

/// Lets every client call again and again for this long; calls under way at the end are waited for and count.
pub(crate) async fn run<C>(
    clients: &mut [C],
    time: Duration,
    call: impl AsyncFn(&mut C) -> Result<()>,
) -> Result<Done> {
    let begun = Instant::now();
    let each = clients.iter_mut().map(async |client| {
        let mut times = Vec::new();
        while begun.elapsed() < time {
            let started = Instant::now();
            call(client).await?;
            times.push(micros(started.elapsed()));
        }
        Ok::<_, anyhow::Error>(times)
    });
    let times = futures_util::future::try_join_all(each).await?.concat();
    Ok(Done { times, seconds: begun.elapsed().as_secs_f64() })
}
