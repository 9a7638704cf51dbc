//! What a certificate says.

use std::{fmt, str::FromStr};

use acp_base::Uid;

use crate::PkiError;

/// A node of a cluster. In a certificate it is the one URI among the alternative names, `acp://<cluster>/node/<node>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeIdentity {
    /// The cluster.
    pub cluster: Uid,
    /// The node.
    pub node: Uid,
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acp://{}/node/{}", self.cluster, self.node)
    }
}

impl FromStr for NodeIdentity {
    type Err = PkiError;

    fn from_str(uri: &str) -> Result<Self, PkiError> {
        let parts = uri.strip_prefix("acp://").and_then(|rest| rest.split_once("/node/"));
        let uid = |text: &str| text.parse::<Uid>().ok().filter(|uid| uid.to_string() == text);
        parts
            .and_then(|(cluster, node)| Some(Self { cluster: uid(cluster)?, node: uid(node)? }))
            .ok_or(PkiError::BadCertificate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        let identity = NodeIdentity { cluster: Uid::from_u128(0xa1), node: Uid::from_u128(0xb2) };
        let uri = identity.to_string();
        assert_eq!(uri.parse::<NodeIdentity>().expect("its own"), identity);
        let others =
            [uri.to_uppercase(), format!("{uri}/"), uri.replace('-', ""), uri.replace("acp", "spiffe"), String::new()];
        for other in others {
            assert!(other.parse::<NodeIdentity>().is_err(), "{other} was taken");
        }
    }
}
