//! How others ask the owner of the database.

use std::{fmt, sync::Arc};

use acp_base::{BootInstant, Failure, Name, Uid};
use acp_core_cdb::{Cursor, Heard, Image, Key, Publication, Record, Refusal, Said, State, View, WatchFilter};
use acp_wire_model::Kind;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Beginning, Committed, Parked, Standing, Told};

/// A question that is answered by looking at the state.
pub(super) struct Look(pub(super) Box<dyn FnOnce(&State) + Send>);

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

/// What the owner is asked.
#[derive(Debug)]
pub(super) enum Request {
    Commit {
        entries: Vec<Vec<u8>>,
        answer: oneshot::Sender<Committed>,
    },
    Replace {
        state: Box<State>,
        answer: oneshot::Sender<u64>,
    },
    Written {
        index: u64,
        uid: Uid,
        answer: oneshot::Sender<Option<Arc<Record>>>,
    },
    Look(Look),
    Get {
        kind: Kind,
        key: Key,
        here: Name,
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
    Said {
        answer: oneshot::Sender<Said>,
    },
    Hear {
        heard: Vec<Heard>,
        stood: Vec<Stood>,
        answer: oneshot::Sender<Vec<usize>>,
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
    pub(super) said: Arc<Notify>,
}

/// A reporter of another node stood by its states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stood {
    /// The node.
    pub(crate) origin: Uid,
    /// The reporter, with the node's name.
    pub(crate) reporter: Arc<str>,
    /// When, by this node's clock.
    pub(crate) at: BootInstant,
}

impl Handle {
    /// Has durable entries applied.
    pub(crate) async fn commit(&self, entries: Vec<Vec<u8>>) -> Result<Committed, Failure> {
        self.ask(|answer| Request::Commit { entries, answer }).await
    }

    /// Puts another state in the place of the one there is; answers its index. Slots of objects that it has, too, stay.
    pub(crate) async fn replace(&self, state: State) -> Result<u64, Failure> {
        let state = Box::new(state);
        self.ask(|answer| Request::Replace { state, answer }).await
    }

    /// The object as the entry with this index left it, for its proposer, who asks once; as it is now if that was long ago; none
    /// if it is gone by now.
    pub(crate) async fn written(&self, index: u64, uid: Uid) -> Result<Option<Arc<Record>>, Failure> {
        self.ask(|answer| Request::Written { index, uid, answer }).await
    }

    /// What `look` finds in the state. It must not take long: everybody waits for it.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        // Whoever asked may have gone.
        self.ask(|answer| Request::Look(Look(Box::new(move |state| drop(answer.send(look(state))))))).await
    }

    /// One object as it is asked for here, with the index applied.
    pub(crate) async fn get(&self, kind: Kind, key: Key, here: Name) -> Result<(View, u64), Failure> {
        Ok(self.ask(|answer| Request::Get { kind, key, here, answer }).await??)
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

    /// Returns when this node's reporters may have said something that was not taken.
    pub(crate) async fn has_said(&self) {
        self.said.notified().await;
    }

    /// Takes what this node's reporters have said since the last time.
    pub(crate) async fn take_said(&self) -> Result<Said, Failure> {
        self.ask(|answer| Request::Said { answer }).await
    }

    /// Takes what other nodes say; answers the places of what is about objects that are not known here.
    pub(crate) async fn hear(&self, heard: Vec<Heard>, stood: Vec<Stood>) -> Result<Vec<usize>, Failure> {
        self.ask(|answer| Request::Hear { heard, stood, answer }).await
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
