//! How others ask the owner of the database.

use std::sync::Arc;

use acp_base::{BootInstant, Failure, Uid};
use acp_core_cdb::{Cursor, Image, Key, Publication, Refusal, View, WatchFilter};
use acp_wire_model::Kind;
use tokio::sync::{mpsc, oneshot};

use super::{Beginning, Parked, Refusals, Standing, Told};
use crate::sequencer::Committed;

/// What the owner is asked.
#[derive(Debug)]
pub(super) enum Request {
    Commit {
        batch: Vec<Committed>,
        answer: oneshot::Sender<Refusals>,
    },
    Get {
        kind: Kind,
        key: Key,
        answer: oneshot::Sender<Result<(View, u64), Refusal>>,
    },
    List {
        kinds: Vec<Kind>,
        answer: oneshot::Sender<(Vec<View>, u64)>,
    },
    Publish {
        now: BootInstant,
        reporter: String,
        publication: Publication,
        answer: oneshot::Sender<Result<Vec<Uid>, Refusal>>,
    },
    Begin {
        filter: WatchFilter,
        answer: oneshot::Sender<Beginning>,
    },
    Resume {
        cursor: Cursor,
        answer: oneshot::Sender<Option<u64>>,
    },
    Follow(Parked),
    Reach {
        index: u64,
        answer: oneshot::Sender<Result<(), Failure>>,
    },
    Image {
        answer: oneshot::Sender<Option<Image>>,
    },
    Standing {
        answer: oneshot::Sender<Standing>,
    },
}

/// Asks the owner. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
}

impl Handle {
    /// Has ordered entries applied and their proposers answered; answers which were refused.
    pub(crate) async fn commit(&self, batch: Vec<Committed>) -> Result<Refusals, Failure> {
        self.ask(|answer| Request::Commit { batch, answer }).await
    }

    /// One object, with the index applied.
    pub(crate) async fn get(&self, kind: Kind, key: Key) -> Result<(View, u64), Failure> {
        Ok(self.ask(|answer| Request::Get { kind, key, answer }).await??)
    }

    /// The objects of these kinds (none: of all), with the index applied.
    pub(crate) async fn list(&self, kinds: Vec<Kind>) -> Result<(Vec<View>, u64), Failure> {
        self.ask(|answer| Request::List { kinds, answer }).await
    }

    /// Takes what a reporter says; answers the identities that no declared object has.
    pub(crate) async fn publish(
        &self,
        now: BootInstant,
        reporter: String,
        publication: Publication,
    ) -> Result<Vec<Uid>, Failure> {
        Ok(self.ask(|answer| Request::Publish { now, reporter, publication, answer }).await??)
    }

    /// What a watch begins with.
    pub(crate) async fn begin(&self, filter: &WatchFilter) -> Result<Beginning, Failure> {
        self.ask(|answer| Request::Begin { filter: filter.clone(), answer }).await
    }

    /// The position from which a watch with this cursor can go on, if it can.
    pub(crate) async fn resume(&self, cursor: Cursor) -> Result<Option<u64>, Failure> {
        self.ask(|answer| Request::Resume { cursor, answer }).await
    }

    /// What came after the position, as soon as something did.
    pub(crate) async fn follow(&self, position: u64, filter: Arc<WatchFilter>) -> Result<Told, Failure> {
        self.ask(|answer| Request::Follow(Parked { position, filter, answer })).await
    }

    /// Returns when this index is applied.
    pub(crate) async fn reach(&self, index: u64) -> Result<(), Failure> {
        self.ask(|answer| Request::Reach { index, answer }).await?
    }

    /// The declared objects as they are now, for a snapshot.
    pub(crate) async fn image(&self) -> Result<Option<Image>, Failure> {
        self.ask(|answer| Request::Image { answer }).await
    }

    /// Where the replica stands.
    pub(crate) async fn standing(&self) -> Result<Standing, Failure> {
        self.ask(|answer| Request::Standing { answer }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Failure> {
        let ending = || Failure::unavailable("the cluster service is ending");
        let (sender, answer) = oneshot::channel();
        self.requests.send(request(sender)).await.map_err(|_unsent| ending())?;
        answer.await.map_err(|_ended| ending())
    }
}
