//! Who was turned away: each counted, and logged once for each reason and origin within a window.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::limits::{REFUSAL_WINDOW, REFUSALS_MAX};

/// The refusals that were logged lately.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    said: Mutex<BTreeMap<(&'static str, String), Instant>>,
}

impl Refused {
    /// Counts a refusal for this reason, and logs it if that is due.
    pub(crate) fn note(&self, reason: &'static str, from: &str, text: &str, id: &str) {
        metrics::counter!("acp_agent_refused_total", "reason" => reason).increment(1);
        if self.is_due(reason, from, Instant::now()) {
            tracing::warn!(reason, from, text, id, "refused");
        }
    }

    fn is_due(&self, reason: &'static str, from: &str, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |at: &Instant| now.duration_since(*at) >= REFUSAL_WINDOW;
        let key = (reason, from.to_owned());
        if said.get(&key).is_some_and(|at| !is_over(at)) {
            return false;
        }
        if said.len() >= REFUSALS_MAX {
            said.retain(|_, at| !is_over(at));
        }
        if said.len() >= REFUSALS_MAX {
            return false;
        }
        said.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_and_origin_is_said_once_in_a_window_and_a_flood_of_origins_is_bounded() {
        let (refused, now) = (Refused::default(), Instant::now());
        assert!(refused.is_due("expired", "10.0.0.1", now));
        assert!(!refused.is_due("expired", "10.0.0.1", now));
        assert!(refused.is_due("issuer", "10.0.0.1", now));
        let said = (0..2 * REFUSALS_MAX).filter(|number| refused.is_due("issuer", &number.to_string(), now)).count();
        assert_eq!(said, REFUSALS_MAX - 2);
        assert!(refused.is_due("expired", "10.0.0.1", now + REFUSAL_WINDOW), "the window is over");
    }
}
