//! The one task that owns the membership. What it has decided it keeps before anybody hears of it.

use std::{sync::Arc, time::Duration};

use acp_base::{Failure, Name, Uid};
use acp_core_membership::{Command, NewNode, Outcome, State};
use acp_io_daemon::{Health, new_uid, wall_now};
use acp_io_failpoint::point;
use acp_io_pki::{Authority, PkiError, to_hex};
use rustls::pki_types::UnixTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    audit,
    error::{ChangeError, pki_failure},
    metrics,
    persist::{Record, Records},
    presence::Presence,
    snapshot::Snapshot,
};

/// Changes waiting for the owner: as many nodes as join at the same moment. One more waits in its own handler.
pub(crate) const ASKED_MAX: usize = 64;

/// How long what has ended is kept at most before it is forgotten. It does not count for anybody meanwhile.
const PRUNE_PAUSE: Duration = Duration::from_secs(60);

/// What the owner of the membership is asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) work: Work,
    /// Who asks, for the log.
    pub(crate) actor: String,
    /// Answered with the membership in which it is done.
    pub(crate) answer: oneshot::Sender<Result<Arc<Snapshot>, ChangeError>>,
}

/// A change.
#[derive(Debug)]
pub(crate) enum Work {
    /// Making the cluster: an authority, and then the decision.
    Init { name: Name, node: NewNode },
    /// A decision alone.
    Command(Command),
}

/// The owner of the membership.
#[derive(Debug)]
pub(crate) struct Service {
    record: Record,
    records: Records,
    authority: Option<Arc<Authority>>,
    presence: Presence,
    health: Health,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Service {
    /// Goes on from a record.
    pub(crate) fn new(
        records: Records,
        record: Record,
        authority: Option<Arc<Authority>>,
        presence: Presence,
        health: Health,
        snapshots: watch::Sender<Arc<Snapshot>>,
    ) -> Self {
        metrics::describe(&record.state);
        Self { record, records, authority, presence, health, snapshots }
    }

    /// Carries out what is asked, until the drain.
    pub(crate) async fn run(mut self, mut asked: mpsc::Receiver<Asked>, drain: CancellationToken) {
        self.prune().await;
        let mut pause = tokio::time::interval(PRUNE_PAUSE);
        loop {
            tokio::select! {
                Some(asked) = asked.recv() => self.answer(asked).await,
                _tick = pause.tick() => self.prune().await,
                () = drain.cancelled() => return,
            }
        }
    }

    async fn answer(&mut self, asked: Asked) {
        let done = match asked.work {
            Work::Init { name, node } => self.init(name, node, &asked.actor).await,
            Work::Command(command) => self.change(command, &asked.actor).await,
        };
        let answer = done.map(|()| Arc::clone(&self.snapshots.borrow()));
        // A caller that is gone needs no answer.
        drop(asked.answer.send(answer));
    }

    async fn init(&mut self, name: Name, node: NewNode, actor: &str) -> Result<(), ChangeError> {
        let cluster = match self.record.state.founded() {
            Some(founded) => founded.uid,
            None => self.founding().await?,
        };
        let authority = self.ensure_authority(cluster).await?;
        let authority = to_hex(authority.certificate());
        self.change(Command::Init { cluster, name, authority, node }, actor).await
    }

    /// The id of the cluster that is made here, drawn once.
    async fn founding(&mut self) -> Result<Uid, Failure> {
        if let Some(cluster) = self.record.founding {
            return Ok(cluster);
        }
        let cluster = new_uid();
        self.keep(Record { founding: Some(cluster), ..self.record.clone() }).await?;
        point("hub.init.id-kept")?;
        Ok(cluster)
    }

    async fn ensure_authority(&mut self, cluster: Uid) -> Result<Arc<Authority>, Failure> {
        if let Some(authority) = &self.authority {
            return Ok(Arc::clone(authority));
        }
        let directory = self.records.directory().to_owned();
        let made = blocking(move || Authority::ensure(&directory, cluster, UnixTime::now())).await?;
        let authority = Arc::new(made.map_err(|error| unusable(&error))?);
        point("hub.init.authority-made")?;
        self.authority = Some(Arc::clone(&authority));
        Ok(authority)
    }

    /// Decides, keeps what was decided, and only then lets anybody see it.
    async fn change(&mut self, command: Command, actor: &str) -> Result<(), ChangeError> {
        let mut state = self.record.state.clone();
        let outcome = state.apply(command.clone(), wall_now().0)?;
        if outcome == Outcome::Unchanged {
            return Ok(());
        }
        let before = self.record.state.clone();
        let snapshot = self.snapshot(&state)?;
        self.keep(Record { founding: None, state }).await?;
        audit::changed(actor, &command, &before);
        metrics::describe(&self.record.state);
        self.presence.keep(&self.record.state);
        self.snapshots.send_replace(Arc::new(snapshot));
        Ok(())
    }

    fn snapshot(&self, state: &State) -> Result<Snapshot, Failure> {
        Snapshot::new(state.clone(), self.authority.clone())
            .map_err(|error| Failure::internal(format!("cannot write the directory: {error}")))
    }

    /// Goes on with this record once it is on stable storage. After an error it goes on with the one before, whichever of
    /// both the file holds: the next change writes it whole.
    async fn keep(&mut self, record: Record) -> Result<(), Failure> {
        let records = self.records.clone();
        match blocking(move || records.write(&record).map(|()| record)).await? {
            Ok(record) => {
                self.record = record;
                self.health.ok();
                Ok(())
            }
            Err(failure) => {
                self.health.degrade(failure.message.clone());
                Err(failure)
            }
        }
    }

    async fn prune(&mut self) {
        if self.record.state.next_prune_ms().is_none_or(|due_ms| wall_now().0 < due_ms) {
            return;
        }
        if let Err(error) = self.change(Command::Prune, "hub").await {
            let reason = Failure::from(error);
            tracing::warn!(%reason, "what has ended cannot be forgotten yet");
        }
    }
}

/// An authority is there that is not of the cluster to be made: whose it is only its record would say.
fn unusable(error: &PkiError) -> Failure {
    match error {
        PkiError::Damaged { path } => Failure::precondition(format!(
            "{} is damaged, or of a cluster whose record is missing: restore the hub's directory from a backup, or move the authority's files away",
            path.display()
        )),
        error => pki_failure(error).context("cannot make the cluster's authority"),
    }
}

/// Does blocking work on a thread of its own.
async fn blocking<T, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(error.to_string()))
}
