//! A node as it presents itself, from the wire.

use acp_base::{Failure, from_hex};
use acp_core_membership::{Digest, NewNode, RootKey};
use acp_io_daemon::new_uid;
use acp_io_pki::{Fingerprint, Request};
use acp_wire_api::hub::Newcomer;

use crate::error::pki_failure;

/// A node that has shown that its key is its own.
#[derive(Clone, Debug)]
pub(crate) struct Presented {
    /// What is decided about.
    pub(crate) node: NewNode,
    /// What is signed.
    pub(crate) request: Request,
}

impl Presented {
    /// Reads and verifies what a node says of itself.
    pub(crate) fn read(newcomer: Newcomer) -> Result<Self, Failure> {
        let request = signing_request(&newcomer.signing_request)?;
        let address = newcomer.address.parse();
        let address = address.map_err(|_no_address| {
            Failure::invalid(format!("node.address: {:?} is not of the form IP:PORT", shown(&newcomer.address)))
        })?;
        let root_key = newcomer.root_key_hash.as_deref().map(root_key).transpose()?;
        let key = digest(request.key())?;
        let Newcomer { uid, name, systems, .. } = newcomer;
        Ok(Self { node: NewNode { uid, name, address, key, root_key, systems }, request })
    }
}

fn root_key(text: &str) -> Result<RootKey, Failure> {
    let digest = text.parse().map_err(|error| Failure::invalid(format!("node.root_key_hash: {error}")))?;
    Ok(RootKey { uid: new_uid(), digest })
}

/// A request to sign, whose signature was verified.
pub(crate) fn signing_request(text: &str) -> Result<Request, Failure> {
    let der =
        from_hex(text).ok_or_else(|| Failure::invalid("signing_request: it is not written in hexadecimal digits"))?;
    Request::read(der).map_err(|error| pki_failure(&error))
}

/// A fingerprint as the membership knows it.
pub(crate) fn digest(fingerprint: Fingerprint) -> Result<Digest, Failure> {
    fingerprint.to_string().parse().map_err(|error| Failure::internal(format!("a fingerprint: {error}")))
}

/// What an error shows of a text that somebody sent.
fn shown(text: &str) -> String {
    /// Longer than any address.
    const CHARS_MAX: usize = 64;
    text.chars().take(CHARS_MAX).collect()
}
