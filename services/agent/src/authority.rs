//! On whose behalf a conversation is held, and for how long.
//!
//! **Invariant**: nothing here rests on another node's word: a key is looked up in this node's own directory, a node is what
//! its certificate says.

use std::time::Duration;

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::wall_now;
use acp_io_pki::Fingerprint;
use acp_wire_api::{
    Scope,
    hub::{Directory, Key},
    principal::{Principal, PrincipalKind},
};

/// What every key begins with; 64 hexadecimal digits follow.
const KEY_PREFIX: &str = "acpk.";

/// What a conversation rests on: it is cut when any of it ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ground {
    /// The other node.
    pub(crate) peer: Option<Uid>,
    /// The key.
    pub(crate) key: Option<Key>,
}

impl Ground {
    /// Whether it holds by this directory, now.
    pub(crate) fn holds(&self, directory: &Directory) -> bool {
        let is_in = self.peer.is_none_or(|peer| !directory.removed.contains(&peer));
        is_in && self.key.as_ref().is_none_or(|key| directory.keys.contains(key) && !is_over(key))
    }
}

impl Ground {
    /// How long its key still counts; without one that expires, for ever.
    pub(crate) fn left(&self) -> Duration {
        let expires = self.key.as_ref().and_then(|key| key.expires_ms);
        expires.map_or(Duration::MAX, |expires| Duration::from_millis(expires.saturating_sub(wall_now().0)))
    }
}

fn is_over(key: &Key) -> bool {
    key.expires_ms.is_some_and(|expires| wall_now().0 >= expires)
}

/// Why a secret opens nothing. Each is the caller's; nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("what was given as a key is none: it begins with acpk. and has 64 hexadecimal digits")]
    Malformed,
    #[error("the key has expired")]
    Expired,
    #[error("the key is not one of this cluster's, or was revoked")]
    Unknown,
}

impl KeyError {
    /// The label under which refusals are counted.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "key_malformed",
            Self::Expired => "key_expired",
            Self::Unknown => "key_unknown",
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(Code::PermissionDenied, error.to_string())
    }
}

/// The key of this secret.
pub(crate) fn find(directory: &Directory, secret: &str) -> Result<Key, KeyError> {
    let is_shaped = secret
        .strip_prefix(KEY_PREFIX)
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if !is_shaped {
        return Err(KeyError::Malformed);
    }
    let hash = Fingerprint::of(secret.as_bytes()).to_string();
    // Every key is compared, whichever it is.
    let found =
        directory.keys.iter().fold(None, |found, key| if is_same(&key.hash, &hash) { Some(key) } else { found });
    match found {
        Some(key) if is_over(key) => Err(KeyError::Expired),
        Some(key) => Ok(key.clone()),
        None => Err(KeyError::Unknown),
    }
}

/// Compares in a time that does not depend on where two texts differ.
fn is_same(one: &str, other: &str) -> bool {
    let differences =
        one.bytes().zip(other.bytes()).fold(0, |sum, (one, other)| std::hint::black_box(sum | one ^ other));
    one.len() == other.len() && differences == 0
}

/// Whoever showed this key.
pub(crate) fn of_key(key: &Key, via: Option<Uid>) -> Principal {
    Principal {
        kind: PrincipalKind::Key,
        uid: Some(key.uid),
        name: Some(key.name.clone()),
        scope: Some(key.scope.min(Scope::Admin)),
        via,
        fingerprint: None,
    }
}

/// A member by its certificate.
pub(crate) fn of_node(directory: &Directory, node: Uid) -> Principal {
    let member = directory.nodes.iter().find(|member| member.uid == node);
    Principal {
        kind: PrincipalKind::Node,
        uid: Some(node),
        name: member.map(|member| member.name.to_string()),
        scope: None,
        via: Some(node),
        fingerprint: None,
    }
}

/// A member whose certificate may have expired, with the key that it has proved to have.
pub(crate) fn of_renewal(directory: &Directory, node: Uid, key: Fingerprint) -> Principal {
    Principal { kind: PrincipalKind::Renewal, fingerprint: Some(key.to_string()), ..of_node(directory, node) }
}

/// Somebody who has nothing but a token.
pub(crate) const fn of_newcomer(via: Option<Uid>) -> Principal {
    Principal { kind: PrincipalKind::Newcomer, uid: None, name: None, scope: None, via, fingerprint: None }
}

#[cfg(test)]
mod tests {
    use acp_wire_api::hub::Cluster;

    use super::*;

    fn key(number: u128, secret: &str, expires_ms: Option<u64>) -> Key {
        Key {
            uid: Uid::from_u128(number),
            name: format!("k{number}").parse().expect("a name"),
            hash: Fingerprint::of(secret.as_bytes()).to_string(),
            scope: Scope::Operate,
            created_ms: 0,
            expires_ms,
        }
    }

    fn directory(keys: Vec<Key>) -> Directory {
        let cluster = Cluster { uid: Uid::from_u128(1), name: "c".parse().expect("a name") };
        Directory {
            cluster,
            revision: 1,
            authority: String::new(),
            nodes: vec![],
            removed: vec![],
            keys,
            epoch: String::new(),
            roles: vec![],
        }
    }

    #[test]
    fn a_key_is_found_by_its_secret_alone_while_it_counts() {
        let secrets: Vec<String> = ["a", "b", "c"].iter().map(|digit| format!("acpk.{}", digit.repeat(64))).collect();
        let later = wall_now().0 + 60_000;
        let known =
            directory(vec![key(1, &secrets[0], None), key(2, &secrets[1], Some(1)), key(3, &secrets[2], Some(later))]);
        assert_eq!(find(&known, &secrets[0]).expect("known").uid, Uid::from_u128(1));
        assert_eq!(find(&known, &secrets[2]).expect("known").uid, Uid::from_u128(3));
        let others = [
            (secrets[1].clone(), KeyError::Expired),
            (format!("acpk.{}", "d".repeat(64)), KeyError::Unknown),
            (known.keys[0].hash.clone(), KeyError::Malformed),
            (String::new(), KeyError::Malformed),
        ];
        for (other, why) in others {
            assert_eq!(find(&known, &other), Err(why));
        }
    }

    #[test]
    fn a_conversation_rests_on_its_peer_and_its_key() {
        let secret = format!("acpk.{}", "a".repeat(64));
        let mut known = directory(vec![key(1, &secret, None)]);
        let ground = Ground { peer: Some(Uid::from_u128(7)), key: Some(known.keys[0].clone()) };
        assert!(ground.holds(&known));
        known.removed.push(Uid::from_u128(7));
        assert!(!ground.holds(&known), "the peer is gone");
        known.removed.clear();
        known.keys[0].scope = Scope::Read;
        assert!(!ground.holds(&known), "it is another key now");
        assert!(!ground.holds(&directory(vec![])), "the key is gone");
    }
}
