//! From one cluster to another: a node enters one with its own objects, and goes on alone with them.
//!
//! What is begun is written down first. Everything before the last step only looks: another log is followed into a state
//! beside the one that is served, until it is complete and has this node's objects. Then that state takes the place of the
//! old one, in the store by one transaction and in the database by one step, so that watchers never see an object vanish
//! that is in both. Whatever interrupts it, the next attempt begins again and finds declared what was declared.
//!
//! **Invariant**: the old state is given up only for one that is durable and proven.

mod candidate;
mod declare;
pub(crate) mod own_hub;

use std::time::Duration;

use acp_base::{EpochId, Failure, Uid, to_base64};
use acp_core_cdb::{Image, State};
use acp_io_daemon::new_uid;
use acp_io_store::StoreError;
use acp_wire_api::cluster::{ControllerKey, EnterReply, EnterRequest};
use tokio::{sync::oneshot, time::Instant};

use self::{candidate::Candidate, declare::Declared};
use crate::{
    epoch::Epoch,
    error::sentence,
    follower::Surroundings,
    identity::{Identity, Intent, Record},
    intake::Position,
    replica::{Replica, encoded},
    source::Source,
};

/// How long after a failed attempt the next one is made.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// Bytes of the state that a node takes along when it goes on alone: a call to the hub has at most 1 MiB, and base64 adds a
/// third.
const ALONE_BYTES_MAX: usize = 740 << 10;

/// What `Enter` and `Part` ask.
#[derive(Debug)]
pub(crate) enum Switch {
    /// To follow another cluster.
    Enter { request: EnterRequest, answer: Answer },
    /// To go on alone.
    Part { answer: Answer },
}

/// Who waits for what came of it.
pub(crate) type Answer = oneshot::Sender<Result<EnterReply, Failure>>;

/// Why a move came to nothing for now.
#[derive(Debug)]
enum Halt {
    /// It may be tried again.
    Failure(Failure),
    /// Nothing can be stored any more.
    Store(StoreError),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            error @ (StoreError::Full | StoreError::Sqlite { .. }) => {
                Self::Failure(Failure::unavailable(sentence(&error)))
            }
            error => Self::Store(error),
        }
    }
}

/// Knows who the node is and where it is on the way to.
#[derive(Debug)]
pub(crate) struct Mover {
    record: Record,
    identity: Identity,
    asked: Option<Switch>,
    next: Instant,
}

impl Mover {
    pub(crate) fn new(record: Record, identity: Identity) -> Self {
        Self { record, identity, asked: None, next: Instant::now() }
    }

    /// The controllers that this node was told of when it entered its cluster.
    pub(crate) fn controllers(&self) -> &[ControllerKey] {
        &self.identity.controllers
    }

    /// Who this node is.
    pub(crate) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Something is asked. What was asked before and not yet begun is given up; its asker learns it.
    pub(crate) fn take(&mut self, switch: Option<Switch>) {
        if let Some(switch) = switch {
            self.asked = Some(switch);
        }
    }

    /// Whether something begun is to be tried again.
    pub(crate) fn is_due(&self) -> bool {
        self.asked.is_some() || (self.identity.intent.is_some() && Instant::now() >= self.next)
    }

    /// Does what is asked, or goes on with what was begun. Answers whether another state has taken the place of the replica's.
    /// Fails if nothing can be stored any more.
    pub(crate) async fn settle(&mut self, replica: &mut Replica, around: &Surroundings) -> Result<bool, StoreError> {
        if !self.is_due() {
            return Ok(false);
        }
        let done = match self.asked.take() {
            Some(Switch::Enter { request, answer }) => {
                let done = self.enter(request, replica, around).await;
                return self.told(done, Some(answer), around);
            }
            Some(Switch::Part { answer }) => {
                let done = self.part(replica, around).await;
                return self.told(done, Some(answer), around);
            }
            None => self.resume(replica, around).await,
        };
        self.told(done, None, around)
    }

    fn told(
        &mut self,
        done: Result<(EnterReply, bool), Halt>,
        answer: Option<Answer>,
        around: &Surroundings,
    ) -> Result<bool, StoreError> {
        around.following.close(None);
        let (result, moved) = match done {
            Ok((reply, moved)) => (Ok(reply), moved),
            Err(Halt::Store(error)) => return Err(error),
            Err(Halt::Failure(failure)) => {
                tracing::warn!(reason = %failure.message, "the move to another log is not done yet");
                self.next = Instant::now() + RETRY_EVERY;
                (Err(failure), false)
            }
        };
        if moved {
            around.following.trouble(String::new());
            around.following.lost(String::new());
        }
        if let Some(answer) = answer {
            // Whoever asked may have gone; what is done stays done.
            drop(answer.send(result));
        }
        Ok(moved)
    }

    async fn resume(&mut self, replica: &mut Replica, around: &Surroundings) -> Result<(EnterReply, bool), Halt> {
        match self.identity.intent.clone() {
            Some(Intent::Enter { cluster, epoch }) => self.move_in(cluster, &epoch, replica, around).await,
            Some(Intent::Part { cluster, epoch }) => self.move_out(cluster, epoch, replica, around).await,
            Some(Intent::Retire { epoch }) => {
                self.retire(&epoch, around).await?;
                Ok((EnterReply { index: 0, taken: 0, orphans: Vec::new() }, false))
            }
            None => Ok((EnterReply { index: 0, taken: 0, orphans: Vec::new() }, false)),
        }
    }

    async fn enter(
        &mut self,
        request: EnterRequest,
        replica: &mut Replica,
        around: &Surroundings,
    ) -> Result<(EnterReply, bool), Halt> {
        self.check(&request)?;
        let EnterRequest { cluster, epoch, controllers, node: _ } = request;
        let at = replica.database().look(Position::of).await?;
        let has_entered = self.identity.cluster == Some(cluster);
        match (at.filter(|at| at.cluster == cluster && has_entered), self.identity.intent.clone()) {
            (Some(at), Some(Intent::Retire { epoch: left })) => {
                self.keep(Identity { controllers, ..self.identity.clone() })?;
                self.retire(&left, around).await?;
                Ok((EnterReply { index: at.index, taken: 0, orphans: Vec::new() }, false))
            }
            // Whoever is there already may have been taken out since, with everything on it, and taken back.
            _ => {
                let intent = Some(Intent::Enter { cluster, epoch: epoch.clone() });
                self.keep(Identity { controllers, intent, ..self.identity.clone() })?;
                self.move_in(cluster, &epoch, replica, around).await
            }
        }
    }

    fn check(&self, request: &EnterRequest) -> Result<(), Failure> {
        if request.node != self.identity.node {
            let text = format!("node: this node is {}, not {}", self.identity.node, request.node);
            return Err(Failure::invalid(text));
        }
        if Epoch::parse(&request.epoch).is_none() {
            return Err(Failure::invalid(format!("epoch: {:?} is none", request.epoch)));
        }
        if request.controllers.is_empty() {
            return Err(Failure::invalid("controllers: there is none, so nobody could be believed"));
        }
        Ok(())
    }

    /// Follows the other cluster's log beside the own one, declares this node's objects there, and changes over.
    async fn move_in(
        &mut self,
        cluster: Uid,
        epoch: &str,
        replica: &mut Replica,
        around: &Surroundings,
    ) -> Result<(EnterReply, bool), Halt> {
        let sources: Vec<_> =
            self.identity.controllers.iter().map(|controller| Source::Hub(controller.name.clone())).collect();
        let start = Position::start(cluster, Epoch::parse(epoch));
        let node = self.identity.node;
        let mut candidate =
            Candidate::follow(&around.client, &sources, start, &self.identity.controllers, Some(node)).await?;
        // From here to the change-over nothing is declared in the old log: it would be left behind.
        let reason = "this node is entering a cluster: nothing is declared in between";
        around.following.close(Some(Failure::unavailable(reason)));
        let known = replica.database().look(Clone::clone).await?;
        let name = known.get(node).map_or_else(|| self.identity.name.clone(), |record| record.name.clone());
        let is_same = known.identity().is_some_and(|identity| identity.cluster == cluster);
        let declared = declare::declare(&mut candidate, &around.client, &known, &name, is_same).await?;
        let before = known.epoch().map(Epoch::from).filter(|_| !is_same);
        let index = self.change_over(candidate.into_state(), replica).await?;
        let intent = before.map(|epoch| Intent::Retire { epoch: epoch.to_string() });
        self.keep(Identity { cluster: Some(cluster), intent, ..self.identity.clone() })?;
        if let Some(Intent::Retire { epoch }) = self.identity.intent.clone()
            && let Err(failure) = self.retire(&epoch, around).await
        {
            self.next = Instant::now() + RETRY_EVERY;
            tracing::warn!(reason = %failure.message, "the hub here has not forgotten the log that was left; it is told again");
        }
        let Declared { taken, orphans } = declared;
        tracing::info!(%cluster, taken, orphans = orphans.len(), "entered the cluster");
        Ok((EnterReply { index, taken, orphans }, true))
    }

    async fn part(&mut self, replica: &mut Replica, around: &Surroundings) -> Result<(EnterReply, bool), Halt> {
        let (index, is_alone) = replica
            .database()
            .look(|state| (state.index(), state.identity().is_some() && state.members().founded().is_none()))
            .await?;
        let (cluster, epoch) = match self.identity.intent.clone() {
            Some(Intent::Part { cluster, epoch }) => (cluster, epoch),
            _ if is_alone => {
                self.keep(Identity { cluster: None, controllers: Vec::new(), intent: None, ..self.identity.clone() })?;
                return Ok((EnterReply { index, taken: 0, orphans: Vec::new() }, false));
            }
            _ => (new_uid(), new_uid()),
        };
        self.keep(Identity { intent: Some(Intent::Part { cluster, epoch }), ..self.identity.clone() })?;
        self.move_out(cluster, epoch, replica, around).await
    }

    /// Has this node's hub begin a log with this node's own objects, and changes over to it.
    async fn move_out(
        &mut self,
        cluster: Uid,
        epoch: Uid,
        replica: &mut Replica,
        around: &Surroundings,
    ) -> Result<(EnterReply, bool), Halt> {
        around
            .following
            .close(Some(Failure::unavailable("this node is leaving its cluster: nothing is declared in between")));
        let node = self.identity.node;
        let known = replica.database().look(Clone::clone).await?;
        let name = known.get(node).map_or_else(|| self.identity.name.clone(), |record| record.name.clone());
        let epoch = EpochId { number: 1, id: epoch };
        let taken = known.own_objects(&name).len();
        let image = alone_image(&known, node, &name, epoch, cluster).await?;
        own_hub::begin(&around.client, node, &name, image, &Epoch::from(epoch)).await?;
        let start = Position::start(cluster, Some(Epoch::from(epoch)));
        let candidate = Candidate::follow(&around.client, &[Source::Own], start, &[], None).await?;
        let index = self.change_over(candidate.into_state(), replica).await?;
        self.keep(Identity { cluster: None, controllers: Vec::new(), intent: None, ..self.identity.clone() })?;
        tracing::info!(%cluster, taken, "this node goes on alone");
        let taken = u64::try_from(taken).unwrap_or(u64::MAX);
        Ok((EnterReply { index, taken, orphans: Vec::new() }, true))
    }

    /// The state takes the place of the replica's; answers its index.
    async fn change_over(&self, state: State, replica: &mut Replica) -> Result<u64, Halt> {
        let index = state.index();
        let encoded = tokio::task::spawn_blocking(move || encoded(state)).await;
        let restored = encoded.ok().flatten().ok_or_else(|| Failure::internal("a state could not be encoded"))?;
        replica.install(restored).await?;
        Ok(index)
    }

    async fn retire(&mut self, epoch: &str, around: &Surroundings) -> Result<(), Failure> {
        own_hub::retire(&around.client, epoch).await?;
        self.keep(Identity { intent: None, ..self.identity.clone() })
    }

    fn keep(&mut self, identity: Identity) -> Result<(), Failure> {
        if identity != self.identity {
            let written = self.record.write(&identity);
            written.map_err(|error| Failure::unavailable(format!("cannot write down who this node is: {error}")))?;
            self.identity = identity;
        }
        Ok(())
    }
}

/// What the node keeps when it goes on alone, as its hub is given it.
async fn alone_image(
    known: &State,
    node: Uid,
    name: &acp_base::Name,
    epoch: EpochId,
    cluster: Uid,
) -> Result<String, Failure> {
    let alone = known.alone(node, name, epoch, cluster);
    let encoded = tokio::task::spawn_blocking(move || alone.image().map(Image::encode)).await;
    let bytes = encoded.ok().flatten().ok_or_else(|| Failure::internal("a state could not be encoded"))?;
    image_text(&bytes)
}

/// An encoded state as a hub is given it.
pub(crate) fn image_text(bytes: &[u8]) -> Result<String, Failure> {
    if bytes.len() > ALONE_BYTES_MAX {
        let text = format!(
            "the objects of this node take {} bytes; a log can be begun with {ALONE_BYTES_MAX} at most: delete some, or leave them to other nodes",
            bytes.len()
        );
        return Err(Failure::new(acp_base::Code::ResourceExhausted, text));
    }
    Ok(to_base64(bytes))
}
