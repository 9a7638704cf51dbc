//! Another log, followed beside the one that is served.

use std::time::Duration;

use acp_base::{Failure, Uid};
use acp_core_cdb::{Outcome, State};
use acp_io_client::{Client, ServiceClient};
use acp_wire_api::{
    Empty,
    cluster::{ControllerKey, FollowReply},
    hub::ReadIndex,
};
use tokio::time::timeout;

use crate::{
    follower::{Opened, choice, restore},
    intake::{Intake, Position, Proven, Refused},
    keys::Keys,
    source::{Source, Stream},
};

/// How long the log may bring nothing that counts.
const PROGRESS_MAX: Duration = Duration::from_secs(10);

/// The same while there is another source to try: a hub that is just leaving the quorum, or coming into it, answers and brings
/// nothing.
const ALTERNATIVE_MAX: Duration = Duration::from_secs(2);

/// How long a controller may take to say what was acknowledged.
const READ_MAX: Duration = Duration::from_secs(5);

/// A state that becomes that of another log.
#[derive(Debug)]
pub(super) struct Candidate {
    state: State,
    intake: Intake,
    keys: Keys,
    source: Source,
    stream: Stream,
    patience: Duration,
}

impl Candidate {
    /// Follows the first of these sources that answers and brings the log, to where it ended when it was asked; for a node that is
    /// a `member` there, until everything is here that was acknowledged anywhere.
    pub(super) async fn follow(
        client: &Client,
        sources: &[Source],
        start: Position,
        controllers: &[ControllerKey],
        member: Option<Uid>,
    ) -> Result<Self, Failure> {
        let mut left = sources.to_vec();
        loop {
            let opened = choice::first(client, &left, &start.request(false)).await.map_err(Failure::unavailable)?;
            left.retain(|source| *source != *opened.source());
            let patience = if left.is_empty() { PROGRESS_MAX } else { ALTERNATIVE_MAX };
            let following = async {
                let mut candidate = Self::follow_to_head(opened, start.clone(), controllers, patience).await?;
                if let Some(node) = member {
                    candidate.catch_up(client, node).await?;
                }
                candidate.patience = PROGRESS_MAX;
                Ok(candidate)
            };
            match following.await {
                Err(failure) if !left.is_empty() => {
                    tracing::info!(reason = %failure, "another source of the log is tried");
                }
                followed => return followed,
            }
        }
    }

    async fn follow_to_head(
        opened: Opened,
        start: Position,
        controllers: &[ControllerKey],
        patience: Duration,
    ) -> Result<Self, Failure> {
        let (source, stream, first) = opened.into_parts();
        let mut keys = Keys::default();
        keys.extend(controllers);
        let intake = Intake::new(source.trust(true), start);
        let mut candidate = Self { state: State::default(), intake, keys, source, stream, patience };
        let head = first.head;
        candidate.take(first).await?;
        candidate.reach(head.max(1)).await?;
        Ok(candidate)
    }

    /// Follows until this index.
    pub(super) async fn reach(&mut self, index: u64) -> Result<(), Failure> {
        while self.state.index() < index {
            let Ok(advanced) = timeout(self.patience, self.advance()).await else { return Err(self.stuck()) };
            advanced?;
        }
        Ok(())
    }

    /// Follows until everything is here that was acknowledged anywhere, this node's admission with it.
    async fn catch_up(&mut self, client: &Client, node: Uid) -> Result<(), Failure> {
        let reply = self.service(client).deadline(READ_MAX).call::<ReadIndex>(Empty {}).await?;
        self.reach(reply.index).await?;
        let gone = || Failure::precondition(format!("node {node} is no member of the cluster that it is to enter"));
        self.state.get(node).map(drop).ok_or_else(gone)
    }

    /// Follows until something new is proven.
    async fn advance(&mut self) -> Result<(), Failure> {
        let before = self.state.index();
        while self.state.index() <= before {
            let reply = self.stream.next().await?;
            self.take(reply).await?;
        }
        Ok(())
    }

    fn stuck(&self) -> Failure {
        Failure::unavailable(format!("{} brings nothing that counts within {:?}", self.source, self.patience))
    }

    /// What it is so far.
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// What it has become.
    pub(super) fn into_state(self) -> State {
        self.state
    }

    /// The source as a service.
    pub(super) fn service(&self, client: &Client) -> ServiceClient {
        self.source.service(client)
    }

    async fn take(&mut self, reply: FollowReply) -> Result<(), Failure> {
        let source = self.source.clone();
        let refused = |refused: Refused| Failure::unavailable(format!("what {source} sent does not count: {refused}"));
        if let Some(bytes) = self.intake.take(reply).map_err(&refused)? {
            let restored = restore(bytes).await.map_err(&refused)?;
            self.intake.restored(restored).map_err(&refused)?;
        }
        let Proven { snapshot, entries, checkpoint: _ } = self.intake.release(&self.keys).map_err(&refused)?;
        if let Some(restored) = snapshot {
            self.state = restored.state;
        }
        for entry in entries {
            if let Outcome::Stalled(stall) = self.state.apply(&entry) {
                return Err(Failure::precondition(stall.to_string()));
            }
        }
        Ok(())
    }
}
