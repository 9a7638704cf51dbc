//! On whose behalf a call from another node, or through the API, is executed.

use acp_base::Uid;
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::Scope;

/// What kind of principal one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// Whoever showed an API key that this node's directory knows.
    Key,
    /// A member, by its certificate alone: root and daemons of that node.
    Node,
    /// A member whose certificate may have expired, and who wants a new one.
    Renewal,
    /// Somebody without a certificate, who has a token.
    Newcomer,
}

/// On whose behalf calls are executed. Only a node's own agent is believed when it names one, after it has verified
/// certificate and key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// What kind.
    pub kind: PrincipalKind,
    /// The key's or the node's id; absent for a newcomer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// How logs and the log of entries name it: the key's or the node's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What a key may do; absent for the others, who may do what names them in the list of a method's callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The node whose certificate stood behind the connection; absent if the call came from this node's own API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Uid>,
    /// The fingerprint of the public key that a renewal or a newcomer proved to have, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}
