//! The quorum: the voters of the cluster's log, and what is done when they are too few.

use acp_base::{Failure, Name};
use acp_wire_api::{
    Empty,
    hub::{
        Backup, BackupReply, BackupRequest, GetQuorum, PlanUpgrade, QuorumStatus, Recover, RecoverRequest, Restore,
        RestoreRequest, SetVoters, Transfer, TransferRequest, Upgrade, UpgradePlan, VotersRequest,
    },
};

use crate::Connection;

const HUB: &str = "hub";

/// The voters of the cluster's log.
#[derive(Clone, Copy, Debug)]
pub struct Quorum<'a> {
    connection: &'a Connection,
}

impl<'a> Quorum<'a> {
    pub(crate) const fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// The voters, the leader and how far each is, by a controller's word; without one, and if no node was chosen, by that of
    /// this node's own hub.
    pub async fn status(self) -> Result<QuorumStatus, Failure> {
        match self.connection.call::<GetQuorum>(HUB, Empty {}).await {
            Err(failure) if self.connection.node().is_none() => {
                let own = async { self.connection.daemon(HUB)?.call::<GetQuorum>(Empty {}).await };
                own.await.map_err(|_nor_this| failure)
            }
            answer => answer,
        }
    }

    /// Gives the leadership to a voter; `None`: to the one that is least behind.
    pub async fn transfer(self, to: Option<Name>) -> Result<QuorumStatus, Failure> {
        self.connection.call::<Transfer>(HUB, TransferRequest { to }).await
    }

    /// Says how many voters there shall be: 1, 3 or 5.
    pub async fn set_voters(self, voters: u32) -> Result<QuorumStatus, Failure> {
        self.connection.call::<SetVoters>(HUB, VotersRequest { voters }).await
    }

    /// To which feature level the cluster can be raised, and what stands against it.
    pub async fn plan_upgrade(self) -> Result<UpgradePlan, Failure> {
        self.connection.call::<PlanUpgrade>(HUB, Empty {}).await
    }

    /// Raises the cluster's feature level, if every member's programs know it.
    pub async fn upgrade(self) -> Result<UpgradePlan, Failure> {
        self.connection.call::<Upgrade>(HUB, Empty {}).await
    }

    /// Begins a new epoch with the node that is asked as the only voter; with `plan` it says what would be lost.
    pub async fn recover(self, plan: bool) -> Result<QuorumStatus, Failure> {
        self.connection.daemon(HUB)?.call::<Recover>(RecoverRequest { plan }).await
    }

    /// Everything that is needed to make the cluster anew elsewhere. A secret.
    pub async fn backup(self) -> Result<BackupReply, Failure> {
        self.connection.call::<Backup>(HUB, BackupRequest {}).await
    }

    /// Begins a new epoch from a backup on the node that is asked, which is in no cluster or orders its log alone; with `plan`
    /// it says what would be.
    pub async fn restore(self, backup: BackupReply, plan: bool) -> Result<QuorumStatus, Failure> {
        self.connection.daemon(HUB)?.call::<Restore>(RestoreRequest { backup, plan }).await
    }
}
