//! A node as the hub gets to know it: its key, and what it says of itself.

use acp_base::{Uid, from_hex, to_hex};
use acp_io_pki::{Certificate, NodeKey};
use acp_wire_api::{
    Scope, hub,
    principal::{Principal, PrincipalKind},
};

use crate::node::valid;

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) uid: Uid,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) key: NodeKey,
    pub(crate) root_key_hash: Option<String>,
}

impl Peer {
    pub(crate) fn new(name: &str, number: u8) -> Self {
        Self {
            uid: Uid::from_u128(number.into()),
            name: name.to_owned(),
            address: format!("10.0.0.{number}:9932"),
            key: NodeKey::generate().expect("a key"),
            root_key_hash: None,
        }
    }

    pub(crate) fn presents(&self) -> hub::Newcomer {
        hub::Newcomer {
            uid: self.uid,
            name: valid(&self.name),
            address: self.address.clone(),
            signing_request: request(&self.key),
            root_key_hash: self.root_key_hash.clone(),
            systems: Vec::new(),
        }
    }

    /// Its certificate behind the connection.
    pub(crate) fn principal(&self, kind: PrincipalKind) -> Principal {
        Principal {
            kind,
            uid: Some(self.uid),
            name: Some(self.name.clone()),
            scope: None,
            via: Some(self.uid),
            fingerprint: (kind == PrincipalKind::Renewal).then(|| self.key.fingerprint().to_string()),
        }
    }
}

/// What a node sends to have its key signed.
pub(crate) fn request(key: &NodeKey) -> String {
    to_hex(key.request().expect("a request").der())
}

pub(crate) fn certificate(hex: &str) -> Certificate {
    let der = from_hex(hex).expect("hexadecimal digits");
    Certificate::read(der.into()).expect("a node's certificate")
}

/// Somebody without a certificate.
pub(crate) fn newcomer() -> Principal {
    let kind = PrincipalKind::Newcomer;
    Principal { kind, uid: None, name: None, scope: None, via: None, fingerprint: None }
}

/// Whoever has a key of this scope.
pub(crate) fn key(name: &str, scope: Scope) -> Principal {
    let uid = Some(Uid::from_u128(0xffff));
    let kind = PrincipalKind::Key;
    Principal { kind, uid, name: Some(name.to_owned()), scope: Some(scope), via: None, fingerprint: None }
}
