//! Handing leadership over.
//!
//! Openraft 0.9 has no transfer. The leader takes no more proposals, waits until the other holds the whole log, and falls
//! silent; when the voters' lease has run out, it tells the other to stand for election. Nobody else stands before that,
//! because patience is longer than the lease. The group orders nothing for about one lease.

use std::time::Duration;

use acp_base::Uid;
use tokio::time::timeout;

use crate::{error::TransferError, frame::Question, links::Links, machine::Machine, raft::Raft, status::Status};

/// How long the other may take to hold the whole log.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);

/// How many leases the other may take to be elected.
const ELECTED_LEASES: u32 = 3;

/// While it lives, this node takes no proposals; afterwards it speaks again if it still leads.
struct Yielding<'a>(&'a Links, &'a std::sync::atomic::AtomicBool);

impl Drop for Yielding<'_> {
    fn drop(&mut self) {
        self.0.lock().silent = false;
        self.1.store(false, std::sync::atomic::Ordering::Release);
    }
}

impl<M: Machine> Raft<M> {
    /// Gives way to another voter: returns when it leads. Proposals are refused meanwhile, for about one lease.
    ///
    /// # Errors
    /// [`TransferError::NotVoter`], [`TransferError::Behind`] and [`TransferError::NotElected`]; this node then leads on,
    /// unless another was elected.
    pub async fn transfer(&self, to: Uid) -> Result<(), TransferError> {
        let own = self.options().node;
        let desk = self.desk().map_err(TransferError::from)?;
        let mut status = self.status();
        {
            let now = status.borrow();
            if !now.is_leader() {
                return Err(TransferError::NotLeader { leader: now.leader.filter(|leader| *leader != own) });
            }
            if to == own || !now.voters.contains(&to) {
                return Err(TransferError::NotVoter(to));
            }
        }
        if self.yielding().swap(true, std::sync::atomic::Ordering::AcqRel) {
            return Err(TransferError::Busy);
        }
        let _yielding = Yielding(&desk.links, self.yielding());
        let holds_all = |status: &Status| {
            status.peers.get(&to).is_some_and(|peer| peer.matched >= status.last_index) || !status.is_leader()
        };
        match timeout(CATCH_UP_LIMIT, status.wait_for(holds_all)).await {
            Err(_elapsed) => return Err(TransferError::Behind(to)),
            Ok(Err(_ended)) => return Err(TransferError::Ended),
            Ok(Ok(_caught_up)) => {}
        }
        let lease = self.options().lease;
        desk.links.lock().silent = true;
        tokio::time::sleep(lease + self.options().heartbeat / 4).await;
        if let Err(error) = self.network().ask(to, Question::Stand, lease).await {
            tracing::warn!(%to, %error, "leadership could not be handed over");
        }
        let has_new = |status: &Status| status.leader.is_some_and(|leader| leader != own);
        drop(timeout(lease * ELECTED_LEASES, status.wait_for(has_new)).await);
        let leader = status.borrow().leader;
        if leader == Some(to) { Ok(()) } else { Err(TransferError::NotElected { to, leader }) }
    }
}
