//! Where a conversation leads, and with whose rights.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use acp_base::Name;
use acp_wire_api::routing::{Placement, placement};

/// The secret of an API key. Its text is shown nowhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Secret(Arc<str>);

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key and when it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// With every call, also on this node.
    Always(Secret),
    /// The key of this node's root, with calls to other nodes alone: here root has rights of its own.
    RootElsewhere,
}

/// What makes two conversations exchangeable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) service: String,
    pub(crate) instance: Option<String>,
    pub(crate) node: Option<Name>,
    pub(crate) key: Option<Key>,
    pub(crate) bulk: bool,
    /// Whether this node's own daemon is meant, also of a service that the cluster has once.
    pub(crate) own: bool,
}

impl Route {
    /// Whether the agent has to be asked for the way. `here` is this node's name, if it is known.
    pub(crate) fn needs_agent(&self, here: Option<&Name>) -> bool {
        if self.own {
            return false;
        }
        if matches!(self.key, Some(Key::Always(_))) {
            return true;
        }
        match &self.node {
            Some(node) => Some(node) != here,
            None => placement(&self.service) == Some(Placement::Single),
        }
    }

    /// The service's own socket on this node.
    pub(crate) fn socket(&self, run_dir: &Path) -> PathBuf {
        match &self.instance {
            Some(instance) => run_dir.join(&self.service).join(format!("{instance}.sock")),
            None => run_dir.join(format!("{}.sock", self.service)),
        }
    }

    /// What messages call the service, like `cluster`, `vmm@0123` or `cluster on n2`.
    pub(crate) fn peer(&self, node: Option<&str>) -> String {
        let mut peer = self.service.clone();
        if let Some(instance) = &self.instance {
            peer.push('@');
            peer.push_str(instance);
        }
        if let Some(node) = node {
            peer.push_str(" on ");
            peer.push_str(node);
        }
        peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(service: &str, node: Option<&str>, key: Option<Key>) -> Route {
        let node = node.map(|node| node.parse().expect("a name"));
        Route { service: service.to_owned(), instance: None, node, key, bulk: false, own: false }
    }

    #[test]
    fn only_what_is_here_for_certain_goes_to_the_socket() {
        let here: Name = "n1".parse().expect("a name");
        let secret = Secret::new("acpk.77");
        let asks = |service: &str, node: Option<&str>, key: Option<Key>, here: Option<&Name>| {
            route(service, node, key).needs_agent(here)
        };
        assert!(!asks("cluster", None, None, None), "no node is this node");
        assert!(asks("cluster", Some("n1"), None, None), "which node this is, the agent knows");
        assert!(!asks("cluster", Some("n1"), None, Some(&here)));
        assert!(asks("cluster", Some("n2"), None, Some(&here)));
        assert!(asks("hub", None, None, Some(&here)), "where it is changes");
        assert!(asks("cluster", None, Some(Key::Always(secret)), Some(&here)), "a key counts here, too");
        assert!(!asks("cluster", None, Some(Key::RootElsewhere), Some(&here)));
        let own = Route { own: true, ..route("hub", None, None) };
        assert!(!own.needs_agent(None));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let route = route("cluster", Some("n2"), Some(Key::Always(Secret::new("acpk.77"))));
        assert!(!format!("{route:?}").contains("acpk"), "{route:?}");
    }
}
