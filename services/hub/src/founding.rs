//! How this hub comes to its log and loses it: founded, prepared by a leader, begun anew from a state of its own, retired.
//!
//! One change at a time: whoever makes one has taken the seat. Each can be asked for again after a crash and goes on where it
//! was interrupted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use acp_base::{EpochId, Failure, Name, Uid, from_base64};
use acp_core_cdb::{Image, State};
use acp_core_membership::Command;
use acp_io_client::Client;
use acp_io_daemon::new_uid;
use acp_io_pki::{Authority, CheckpointKey};
use acp_wire_api::{
    Empty,
    agent::{GetStatus, ListMembers, ListMembersReply},
    cluster::ControllerKey,
    hub::{BackupReply, Cluster, FoundReply, FoundRequest, PrepareReply, PrepareRequest},
};
use acp_wire_model::entry::{Action, FEATURE_LEVEL};
use tokio::time::Instant;

use crate::{
    error::pki_failure,
    handlers::membership,
    log::{Batch, Replica},
    orders::{Draft, Orders},
    peers::Begun,
    persist::{Prepared, Record},
    seat::{Seat, blocking, no_log},
};

/// How long the first entries of a log may take: this node alone votes.
const BEGIN_LIMIT: Duration = Duration::from_secs(15);

/// How long the own agent may take to say who is a controller.
const AGENT_LIMIT: Duration = Duration::from_secs(5);

/// The layout of backups.
pub(crate) const BACKUP_VERSION: u32 = 1;

/// What changes the seat.
#[derive(Debug)]
pub(crate) struct Founding {
    pub(crate) seat: Arc<Seat>,
    pub(crate) orders: Orders,
    pub(crate) replica: Replica,
    pub(crate) client: Client,
    pub(crate) key: Arc<CheckpointKey>,
    /// When a leader has last made this hub ready.
    pub(crate) prepared: Mutex<Option<Instant>>,
}

impl Founding {
    /// Begins a log of this node alone, or says of which one it has a part.
    pub(crate) async fn found(&self, request: FoundRequest) -> Result<FoundReply, Failure> {
        let mut record = self.seat.take().await;
        is_ours(&record, request.node)?;
        if let Some(Prepared { cluster, .. }) = record.prepared.as_ref().filter(|_| !self.seat.is_founded()) {
            return Err(Failure::precondition(format!("this hub is about to have a part in cluster {cluster}")));
        }
        self.open(&mut record, request.node).await?;
        match request.image.as_deref() {
            None if self.seat.is_founded() => {}
            None => self.seat.found(None).await?,
            Some(image) => self.found_with(&mut record, image).await?,
        }
        self.begin(&mut record, request.node, &request.name).await?;
        self.founded(request.node, request.name)
    }

    async fn found_with(&self, record: &mut Record, image: &str) -> Result<(), Failure> {
        let (image, state) = read_image(image)?;
        let cluster = state.identity().map(|identity| identity.cluster);
        if self.seat.is_founded() {
            let here = self.replica.position().borrow().cluster;
            return if here == cluster {
                Ok(())
            } else {
                Err(Failure::precondition("this hub has a part in a log already"))
            };
        }
        if state.members().founded().is_none() {
            return self.seat.found(Some(image)).await;
        }
        self.keep_authority(&state)?;
        self.begin_with(record, image, "recover").await
    }

    /// Forgets the log and the authority's key.
    pub(crate) async fn retire(&self) -> Result<(), Failure> {
        let mut record = self.seat.take().await;
        self.retire_held(&mut record).await
    }

    /// The same, unless a leader has made this hub ready since it was found to be dismissed: then it is about to be a voter
    /// again, and the log says so when it arrives. Answers whether it was done.
    pub(crate) async fn retire_dismissed(&self, since: Instant) -> Result<bool, Failure> {
        let mut record = self.seat.take().await;
        if self.prepared() > Some(since) {
            return Ok(false);
        }
        self.retire_held(&mut record).await.map(|()| true)
    }

    /// When a leader has last made this hub ready.
    pub(crate) fn prepared(&self) -> Option<Instant> {
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn retire_held(&self, record: &mut Record) -> Result<(), Failure> {
        self.seat.forget().await?;
        self.seat.records().remove_image()?;
        let kept = Record { node: record.node, ..Record::default() };
        self.seat.keep(record, kept).await
    }

    /// Makes this hub ready to be a voter of the cluster that this node is in. The same again is answered as before.
    pub(crate) async fn prepare(&self, request: PrepareRequest, caller: Uid) -> Result<PrepareReply, Failure> {
        let mut record = self.seat.take().await;
        is_ours(&record, request.node)?;
        self.is_controller_of(request.cluster, caller).await?;
        let at = *self.replica.position().borrow();
        match at.cluster {
            Some(cluster) if cluster != request.cluster => {
                let text = format!("this hub has a part in the log of cluster {cluster}: it has to be retired first");
                return Err(Failure::precondition(text));
            }
            Some(_) if epoch_number(&at.epoch_text()) < epoch_number(&request.epoch) => {
                tracing::info!(epoch = request.epoch, "another epoch has begun: this hub begins anew");
                self.retire_held(&mut record).await?;
            }
            Some(_) | None => {}
        }
        self.take_authority(&request).await?;
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let prepared = Some(Prepared { cluster: request.cluster, epoch: request.epoch });
        if record.prepared != prepared {
            let kept = Record { prepared, ..record.clone() };
            self.seat.keep(&mut record, kept).await?;
        }
        self.open(&mut record, request.node).await?;
        Ok(PrepareReply { checkpoint_key: self.key.public() })
    }

    async fn take_authority(&self, request: &PrepareRequest) -> Result<(), Failure> {
        if request.authority.is_empty() {
            return Ok(());
        }
        let (directory, cluster, text) = (self.seat.directory(), request.cluster, request.authority.clone());
        let installed = blocking(move || Authority::install(&directory, cluster, &text)).await?;
        self.replica.set_authority(Some(Arc::new(installed.map_err(|error| pki_failure(&error))?)));
        Ok(())
    }

    /// In which cluster this node is, as its agent knows.
    pub(crate) async fn member_of(&self) -> Result<Option<Cluster>, Failure> {
        let agent = self.client.own("agent").deadline(AGENT_LIMIT);
        let status = agent.call::<GetStatus>(Empty {}).await;
        status.map(|status| status.cluster).map_err(|failure| failure.context("whether this node is in a cluster"))
    }

    /// By this node's own directory, which its agent has from the control plane.
    pub(crate) async fn is_controller_of(&self, cluster: Uid, caller: Uid) -> Result<(), Failure> {
        let agent = self.client.own("agent").deadline(AGENT_LIMIT);
        let ours = agent.call::<GetStatus>(Empty {}).await?.cluster.map(|ours| ours.uid);
        let nodes = agent.call::<ListMembers>(Empty {}).await?.nodes;
        let is_controller = nodes.iter().any(|node| node.uid == caller && node.controller);
        if ours == Some(cluster) && is_controller {
            return Ok(());
        }
        let text = format!("node {caller} is no controller of a cluster that this node is in");
        Err(Failure::new(acp_base::Code::PermissionDenied, text))
    }

    /// Whether the epoch of this hub's log has ended, because a later one of the same cluster has begun: at another controller, or
    /// by the directory that this node's agent has. Whoever goes on with it nevertheless orders what nobody keeps.
    pub(crate) async fn is_superseded(&self, begun: Begun) -> bool {
        // Whoever was made ready for an epoch may be sent what was before it first.
        let prepared = self.seat.take().await.prepared.as_ref().map_or(0, |prepared| epoch_number(&prepared.epoch));
        let at = *self.replica.position().borrow();
        let own = epoch_number(&at.epoch_text());
        if own == 0 || self.seat.has_begun().is_err() {
            return false;
        }
        let own = own.max(prepared);
        if begun.cluster == at.cluster && begun.epoch > own {
            return true;
        }
        self.directory_here().await.is_some_and(|members| epoch_number(&members.epoch) > own)
    }

    /// The directory that this node's agent has, if it is of the cluster of this hub's log.
    async fn directory_here(&self) -> Option<ListMembersReply> {
        let cluster = self.replica.snapshot().state.founded()?.uid;
        let ours = self.member_of().await.ok()??;
        let agent = self.client.own("agent").deadline(AGENT_LIMIT);
        let members = agent.call::<ListMembers>(Empty {}).await.ok()?;
        (ours.uid == cluster).then_some(members)
    }

    /// Whether this node is no controller any more by a directory that is newer than this hub's log: it was away when others
    /// took its part.
    pub(crate) async fn was_dismissed(&self) -> bool {
        let (Some(here), Some(members)) = (self.replica.here(), self.directory_here().await) else { return false };
        let epoch = epoch_number(&self.replica.position().borrow().epoch_text());
        let revision = self.replica.snapshot().state.revision();
        let is_newer = (epoch_number(&members.epoch), members.revision) > (epoch, revision);
        is_newer && members.nodes.iter().any(|node| node.uid == here && !node.controller)
    }

    /// Begins a new epoch with the state that this hub has, and this node as its only voter.
    pub(crate) async fn recover(&self) -> Result<(), Failure> {
        let mut record = self.seat.take().await;
        let raft = self.seat.raft().ok_or_else(no_log)?;
        // What this hub has stored and cannot know to be acknowledged may well have been: it is kept.
        let commands = raft.unapplied().await.map_err(|error| Failure::unavailable(acp_base::sentence(&error)))?;
        let mut state = self.replica.read(State::clone);
        let image = blocking(move || {
            commands.iter().for_each(|command| Batch::follow(&mut state, command));
            state.image().map(Image::encode)
        });
        self.begin_with(&mut record, image.await?.ok_or_else(no_log)?, "recover").await?;
        self.finish(&mut record).await
    }

    /// Begins a new epoch with the state of a backup.
    pub(crate) async fn restore(&self, backup: &BackupReply) -> Result<(), Failure> {
        let mut record = self.seat.take().await;
        let (image, state) = read_image(&backup.image)?;
        if !backup.authority.is_empty() {
            let (directory, cluster, text) = (self.seat.directory(), backup.cluster, backup.authority.clone());
            let installed = blocking(move || Authority::install(&directory, cluster, &text)).await?;
            installed.map_err(|error| pki_failure(&error))?;
        }
        self.keep_authority(&state)?;
        self.begin_with(&mut record, image, "restore").await?;
        self.finish(&mut record).await
    }

    /// Goes on with what a crash has interrupted.
    pub(crate) async fn resume(&self) -> Result<(), Failure> {
        let mut record = self.seat.take().await;
        if record.beginning.is_none() {
            return Ok(());
        }
        self.replace_log().await?;
        self.finish(&mut record).await
    }

    /// The authority of a cluster in this state is here, or nothing begins: no second one is ever made.
    fn keep_authority(&self, state: &State) -> Result<(), Failure> {
        let authority = crate::authority(&self.seat.directory(), state.members());
        let authority = authority.map_err(|error| Failure::precondition(acp_base::sentence(&error)))?;
        self.replica.set_authority(authority);
        Ok(())
    }

    async fn begin_with(&self, record: &mut Record, image: Vec<u8>, reason: &str) -> Result<(), Failure> {
        let records = self.seat.records().clone();
        blocking(move || records.write_image(&image)).await??;
        let above = self.replica.position().borrow().epoch.map_or(0, |epoch| epoch.number);
        let kept = Record { beginning: Some(reason.to_owned()), above, prepared: None, ..record.clone() };
        self.seat.keep(record, kept).await?;
        self.replace_log().await
    }

    /// Puts a log that begins with the kept state in the place of the one there is.
    async fn replace_log(&self) -> Result<(), Failure> {
        let Some(image) = self.seat.records().read_image()? else { return Ok(()) };
        self.seat.set_beginning(true);
        if self.seat.is_founded() {
            self.seat.forget_log().await?;
        }
        self.seat.found(Some(image)).await?;
        self.seat.records().remove_image()
    }

    async fn open(&self, record: &mut Record, node: Uid) -> Result<(), Failure> {
        if record.node.is_none() {
            let kept = Record { node: Some(node), ..record.clone() };
            self.seat.keep(record, kept).await?;
        }
        let opened = self.seat.open_log(node).await;
        opened.map(drop).map_err(|error| Failure::unavailable(acp_base::sentence(&error)))
    }

    /// The first entries of a cluster.
    async fn begin(&self, record: &mut Record, node: Uid, name: &Name) -> Result<(), Failure> {
        if record.beginning.is_some() {
            return self.finish(record).await;
        }
        let deadline = Instant::now() + BEGIN_LIMIT;
        if self.replica.position().borrow().cluster.is_some() {
            return Ok(());
        }
        self.seat.leader(deadline).await?;
        if self.replica.position().borrow().cluster.is_some() {
            return Ok(());
        }
        let genesis = Action::Genesis { cluster: new_uid(), node, node_name: name.clone() };
        let epoch = Some(EpochId { number: 1, id: new_uid() });
        // No earlier version has a part in it: there is nobody who could not read what is new.
        let first = [genesis, Action::FeatureLevel { level: FEATURE_LEVEL }];
        let drafts = first.map(|action| Draft { epoch, ..Draft::new("hub", "", action) });
        self.orders.order(drafts.to_vec(), deadline).await.map(drop)
    }

    /// The end of the epoch before, and of the controllers that it had.
    async fn finish(&self, record: &mut Record) -> Result<(), Failure> {
        let Some(reason) = record.beginning.clone() else { return Ok(()) };
        let deadline = Instant::now() + BEGIN_LIMIT;
        self.seat.leader(deadline).await?;
        let before = self.replica.position().borrow().epoch.map_or(0, |epoch| epoch.number);
        let epoch = EpochId { number: before.max(record.above) + 1, id: new_uid() };
        self.orders.order_one(Draft::new("hub", "", Action::Horizon { epoch, reason }), deadline).await?;
        let drafts = self.sole_controller()?;
        if !drafts.is_empty() {
            self.orders.order(drafts, deadline).await?;
        }
        tracing::info!(%epoch, "a new epoch has begun with this node as its only voter");
        let kept = Record { beginning: None, above: 0, ..record.clone() };
        self.seat.keep(record, kept).await?;
        self.seat.set_beginning(false);
        Ok(())
    }

    /// What makes this node the only controller; nothing if it is no member.
    pub(crate) fn sole_controller(&self) -> Result<Vec<Draft>, Failure> {
        let snapshot = self.replica.snapshot();
        let Some(here) = self.replica.here().filter(|here| snapshot.state.members().contains_key(here)) else {
            return Ok(Vec::new());
        };
        let key = |node, checkpoint_key| membership("hub", "", &Command::SetController { node, checkpoint_key });
        let others = snapshot.state.controllers().map(|(uid, _)| uid).filter(|uid| *uid != here);
        std::iter::once(key(here, Some(self.key.public()))).chain(others.map(|uid| key(uid, None))).collect()
    }

    fn founded(&self, node: Uid, name: Name) -> Result<FoundReply, Failure> {
        let at = *self.replica.position().borrow();
        let cluster = at.cluster.ok_or_else(no_log)?;
        let controllers = vec![ControllerKey { uid: node, name, key: self.key.public() }];
        Ok(FoundReply { cluster, epoch: at.epoch_text(), controllers })
    }
}

fn is_ours(record: &Record, node: Uid) -> Result<(), Failure> {
    match record.node {
        Some(ours) if ours != node => {
            let text =
                format!("this hub is of node {ours}, not of {node}: move its directory away if that node is no more");
            Err(Failure::precondition(text))
        }
        Some(_) | None => Ok(()),
    }
}

/// A state as it is sent: its bytes, and what they hold.
pub(crate) fn read_image(text: &str) -> Result<(Vec<u8>, State), Failure> {
    let image = from_base64(text).ok_or_else(|| Failure::invalid("image: it is not written in base64"))?;
    let state = State::restore(&image).map_err(|error| Failure::invalid(acp_base::sentence(&error)))?;
    Ok((image, state))
}

/// The number of an epoch as it is written; 0 for what is none.
pub(crate) fn epoch_number(text: &str) -> u64 {
    text.split_once('-').and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}
