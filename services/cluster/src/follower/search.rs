//! Whether a better source than the one that is followed answers: asked beside it, so that what comes from that is not held up.

use std::{fmt, future::Future, pin::Pin};

use acp_io_client::Client;
use acp_wire_api::cluster::FollowRequest;

use super::choice;
use crate::source::Source;

/// A search that is under way, or none.
#[derive(Default)]
pub(super) struct Search(Option<Pin<Box<dyn Future<Output = bool> + Send>>>);

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Search").field(&self.is_under_way()).finish()
    }
}

impl Search {
    /// Asks these, the preferred one first. Only one that has a quorum is better.
    pub(super) fn begin(client: Client, sources: Vec<Source>, request: FollowRequest) -> Self {
        Self(Some(Box::pin(async move {
            choice::first(&client, &sources, &request).await.is_ok_and(|opened| !opened.is_degraded())
        })))
    }

    /// Whether it has not come to its end.
    pub(super) const fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// Returns when it has come to its end, with whether there is a better one; never without a search. Cancel-safe.
    pub(super) async fn found(&mut self) -> bool {
        let Some(search) = &mut self.0 else { return std::future::pending().await };
        let is_better = search.await;
        self.0 = None;
        is_better
    }
}
