//! Conversations that wait for the next call.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{Conversation, route::Route};

/// Idle conversations kept for one route: as many calls as the API commonly has in flight to one service for one key.
const CONVERSATIONS_MAX: usize = 32;

/// Routes for which any are kept: the services of a node, and some hundred systems, nodes or keys beside them.
const ROUTES_MAX: usize = 256;

/// The conversations by route, each with when it was last used, the newest at the end.
type Kept = BTreeMap<Arc<Route>, Vec<(Conversation, Instant)>>;

/// The conversations that wait.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    kept: Mutex<Kept>,
}

impl Idle {
    pub(crate) fn take(&self, route: &Route) -> Option<Conversation> {
        self.lock().get_mut(route)?.pop().map(|(conversation, _since)| conversation)
    }

    pub(crate) fn keep(&self, route: &Arc<Route>, conversation: Conversation) {
        let mut kept = self.lock();
        if kept.len() >= ROUTES_MAX && !kept.contains_key(route) {
            make_room(&mut kept);
        }
        let conversations = kept.entry(Arc::clone(route)).or_default();
        if conversations.len() < CONVERSATIONS_MAX {
            conversations.push((conversation, Instant::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the routes without conversations, and if there are none the one that was used longest ago.
fn make_room(kept: &mut Kept) {
    kept.retain(|_, conversations| !conversations.is_empty());
    if kept.len() < ROUTES_MAX {
        return;
    }
    let last_used = |conversations: &[(Conversation, Instant)]| conversations.last().map(|(_, since)| *since);
    let oldest = kept.iter().min_by_key(|(_, conversations)| last_used(conversations));
    if let Some(route) = oldest.map(|(route, _)| Arc::clone(route)) {
        kept.remove(&route);
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, time::Duration};

    use super::*;

    fn route(number: usize) -> Arc<Route> {
        let (service, instance) = ("vmm".to_owned(), Some(number.to_string()));
        Arc::new(Route { service, instance, node: None, key: None, bulk: false, own: false })
    }

    #[tokio::test]
    async fn the_routes_used_last_are_kept_with_a_few_conversations_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).expect("bound");
        let connect = async || {
            let conversation = Conversation::connect(&path, "s", Instant::now() + Duration::from_secs(10)).await;
            drop(listener.accept().expect("accepted"));
            conversation.expect("connected")
        };
        let idle = Idle::default();
        for number in 0..ROUTES_MAX + 10 {
            idle.keep(&route(number), connect().await);
        }
        let kept: Vec<_> = (0..ROUTES_MAX + 10).map(|number| idle.take(&route(number)).is_some()).collect();
        assert_eq!(kept.iter().position(|is_kept| *is_kept), Some(10), "the oldest went first");
        assert!(kept[10..].iter().all(|is_kept| *is_kept));
        for _ in 0..CONVERSATIONS_MAX + 2 {
            idle.keep(&route(0), connect().await);
        }
        let count = std::iter::from_fn(|| idle.take(&route(0))).count();
        assert_eq!(count, CONVERSATIONS_MAX);
    }
}
