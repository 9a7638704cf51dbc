//! What the handlers see: the membership as it was last kept.

use std::sync::Arc;

use acp_base::{Failure, Uid};
use acp_core_membership::{Digest, Rejection, State};
use acp_io_pki::Authority;
use acp_wire_api::hub::{Directory, WatchDirectoryReply};
use serde_json::value::{RawValue, to_raw_value};

use crate::error::rejected;

/// The membership at one moment. Everything in it is on stable storage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// What the cluster agrees on.
    pub(crate) state: State,
    /// The directory with its reply to whoever watches, written once for all of them.
    told: Option<(Directory, Box<RawValue>)>,
    /// Who signs.
    authority: Option<Arc<Authority>>,
}

impl Snapshot {
    /// The snapshot of a state.
    pub(crate) fn new(state: State, authority: Option<Arc<Authority>>) -> Result<Self, serde_json::Error> {
        let told = match state.directory() {
            Some(directory) => {
                let reply = to_raw_value(&WatchDirectoryReply { directory: Some(directory.clone()) })?;
                Some((directory, reply))
            }
            None => None,
        };
        Ok(Self { state, told, authority })
    }

    /// The directory.
    pub(crate) fn directory(&self) -> Result<&Directory, Failure> {
        self.told.as_ref().map(|(directory, _)| directory).ok_or_else(|| rejected(&Rejection::NoCluster))
    }

    /// The directory as whoever watches it is sent it.
    pub(crate) fn reply(&self) -> Result<&RawValue, Failure> {
        self.told.as_ref().map(|(_, reply)| &**reply).ok_or_else(|| rejected(&Rejection::NoCluster))
    }

    /// Who signs.
    pub(crate) fn authority(&self) -> Result<&Authority, Failure> {
        self.authority.as_deref().ok_or_else(|| rejected(&Rejection::NoCluster))
    }

    /// The node that speaks for itself at this hub's own socket: the controller that it runs on.
    pub(crate) fn here(&self) -> Result<Uid, Failure> {
        self.state.controllers().next().map(|(uid, _)| uid).ok_or_else(|| rejected(&Rejection::NoCluster))
    }

    /// Whether the member has this public key.
    pub(crate) fn is_key_of(&self, node: Uid, key: &Digest) -> bool {
        self.state.members().get(&node).is_some_and(|member| member.key == *key)
    }
}
