//! What the handlers see of the membership: how the last batch of the log has left it.

use std::sync::Arc;

use acp_base::{Failure, Uid};
use acp_core_membership::{Digest, Rejection, State};
use acp_io_pki::Authority;
use acp_io_raft::{Role, Status};
use acp_wire_api::hub::{Directory, WatchDirectoryReply};
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{not_yet, rejected};

/// The membership at one moment. Everything in it is in the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// What the cluster agrees on.
    pub(crate) state: State,
    /// The directory with its reply to whoever watches, written once for all of them.
    told: Option<(Directory, Box<RawValue>)>,
    /// Who signs, on a controller.
    authority: Option<Arc<Authority>>,
    /// This node.
    here: Option<Uid>,
}

impl Snapshot {
    /// The snapshot of a membership, with its directory.
    pub(crate) fn new(
        state: State,
        directory: Option<Directory>,
        authority: Option<Arc<Authority>>,
        here: Option<Uid>,
    ) -> Self {
        let told = directory.map(|directory| {
            let reply = WatchDirectoryReply { directory: Some(directory.clone()), degraded: String::new() };
            (directory, to_raw_value(&reply).expect("names, numbers and lists can be written"))
        });
        Self { state, told, authority, here }
    }

    /// The directory.
    pub(crate) fn directory(&self) -> Result<&Directory, Failure> {
        self.told.as_ref().map(|(directory, _)| directory).ok_or_else(|| self.no_cluster())
    }

    /// The directory as whoever watches it is sent it.
    pub(crate) fn reply(&self) -> Result<&RawValue, Failure> {
        self.told.as_ref().map(|(_, reply)| &**reply).ok_or_else(|| self.no_cluster())
    }

    /// Who signs.
    pub(crate) fn authority(&self) -> Result<&Authority, Failure> {
        let none = || match self.state.founded() {
            Some(_) => Failure::precondition("this node is no controller of the cluster: another one has to be asked"),
            None => self.no_cluster(),
        };
        self.authority.as_deref().ok_or_else(none)
    }

    /// Why nothing of a cluster is known here: who signs is handed over before the log arrives.
    fn no_cluster(&self) -> Failure {
        if self.authority.is_some() { not_yet() } else { rejected(&Rejection::NoCluster) }
    }

    /// The node that speaks for itself at this hub's own socket.
    pub(crate) fn here(&self) -> Result<Uid, Failure> {
        self.state.founded().and(self.here).ok_or_else(|| self.no_cluster())
    }

    /// Whether the node is a controller.
    pub(crate) fn is_controller(&self, node: Uid) -> bool {
        self.state.members().get(&node).is_some_and(|member| member.controller)
    }

    /// Whether the log that this hub has says that others have its part: it is no controller there, and does not vote.
    pub(crate) fn is_dismissed(&self, status: &Status) -> bool {
        let Some(here) = self.here else { return false };
        let is_part =
            status.voters.contains(&here) || matches!(status.role, Role::Unfounded | Role::Failed(_) | Role::Ended);
        !is_part && self.state.founded().is_some() && !self.is_controller(here)
    }

    /// Whether the member has this public key.
    pub(crate) fn is_key_of(&self, node: Uid, key: &Digest) -> bool {
        self.state.members().get(&node).is_some_and(|member| member.key == *key)
    }
}
