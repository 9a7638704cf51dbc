//! State, slots and journal as one: what the owner task holds.

use std::{collections::BTreeMap, sync::Arc};

use acp_base::{BootInstant, Code, Name, Uid};
use acp_wire_model::Kind;

use crate::{
    cursor::Cursor,
    journal::{Change, Journal},
    limits::{BATCH_BYTES, BATCH_OBJECTS_MAX},
    refusal::Refusal,
    slots::{Heard, Hearing, Holder, Publication, Said, SlotChange, SlotEffect, Slots},
    state::{Effect, Outcome, Record, State},
    view::View,
};

/// How an object is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// By name: of a kind that is of one node, that of the asking node, or else the only one.
    Name(String),
    /// By name, on this node.
    OnNode(Name, String),
    /// By identity.
    Uid(Uid),
}

/// Which objects a watch is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchFilter {
    /// The kinds; empty: all.
    pub kinds: Vec<Kind>,
    /// Leaves out stats slots and changes of nothing else.
    pub without_stats: bool,
    /// Whether what other nodes say is left out, and changes of nothing else; absent: of reported kinds alone.
    pub here: Option<bool>,
}

/// Whether only this node's reporters count for objects of this kind, as it was asked for.
pub(crate) fn is_here(here: Option<bool>, kind: Kind) -> bool {
    here.unwrap_or(!kind.is_declared())
}

impl WatchFilter {
    /// Whether only this node's reporters count for objects of this kind.
    fn is_here(&self, kind: Kind) -> bool {
        is_here(self.here, kind)
    }

    fn admits(&self, change: &Change) -> bool {
        let is_wanted = self.kinds.is_empty() || self.kinds.contains(&change.kind);
        is_wanted && !(self.without_stats && change.stats_only) && !(change.is_heard && self.is_here(change.kind))
    }
}

/// Something a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The object is so now.
    Put(View),
    /// The object is gone; it was so last.
    Delete(Arc<View>),
}

/// What came after a position.
#[derive(Clone, Debug, PartialEq)]
pub enum Changes {
    /// These events, in order and one an object; ask again from `position`. Empty at the end.
    Next {
        /// The events.
        events: Vec<Event>,
        /// The position after them.
        position: u64,
    },
    /// It is no longer known: start from the state again.
    Lost,
}

/// Everything one replica knows.
#[derive(Clone, Debug, Default)]
pub struct Database {
    state: State,
    slots: Slots,
    journal: Journal,
}

impl Database {
    /// A database that starts from this state, without slots and with an empty journal.
    pub fn new(state: State) -> Self {
        Self { state, ..Self::default() }
    }

    /// The same database with a journal of this many changes.
    #[must_use]
    pub fn with_journal(mut self, changes_max: usize) -> Self {
        self.journal = Journal::with_capacity(changes_max);
        self
    }

    /// The same database without slots, and with room for so many bytes of them.
    #[must_use]
    pub fn with_slots(mut self, bytes_max: usize) -> Self {
        self.slots = Slots::with_capacity(bytes_max);
        self
    }

    /// The declared objects.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The slots.
    pub const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The number of the newest change.
    pub const fn position(&self) -> u64 {
        self.journal.head()
    }

    /// Goes on from another state. What reporters say of objects that are in both stays; every watch begins anew.
    pub fn replace(&mut self, state: State) {
        self.state = state;
        self.slots.keep_declared(&self.state);
        self.journal.forget();
    }

    /// Applies the next entry, see [`State::apply`].
    pub fn apply(&mut self, entry: &[u8]) -> Outcome {
        let outcome = self.state.apply(entry);
        if let Outcome::Done(done) = &outcome {
            done.changes.iter().for_each(|(effect, record)| self.note(*effect, record));
        }
        outcome
    }

    fn note(&mut self, effect: Effect, record: &Arc<Record>) {
        let gone = match effect {
            Effect::Put => None,
            Effect::Unchanged => return,
            Effect::Delete => Some(Arc::new(View { slots: self.slots.forget(record.uid), ..bare_view(record) })),
        };
        let (kind, uid) = (record.kind, record.uid);
        self.journal.push(Change { kind, uid, stats_only: false, is_heard: false, gone });
    }

    /// Takes what a reporter says; answers the identities that no declared object has (any more).
    ///
    /// # Errors
    /// `Conflict` for a publication older than one received, `InvalidArgument` for one that is malformed,
    /// `ResourceExhausted` beyond a bound; nothing of it was taken.
    pub fn publish(&mut self, now: BootInstant, reporter: &str, publication: Publication) -> Result<Vec<Uid>, Refusal> {
        let published = self.slots.publish(&self.state, now, reporter, publication)?;
        published.changes.into_iter().for_each(|change| self.enter(change));
        Ok(published.unknown)
    }

    /// Takes what a reporter of another node says; answers whether its object is known here.
    ///
    /// # Errors
    /// Why it is not taken: it is malformed, or there is no room.
    pub fn hear(&mut self, heard: Heard) -> Result<bool, Refusal> {
        match self.slots.hear(&self.state, heard)? {
            Hearing::Taken(change) => {
                change.into_iter().for_each(|change| self.enter(change));
                Ok(true)
            }
            Hearing::Unknown => Ok(false),
        }
    }

    /// A reporter of another node stood by every state it had said at that time.
    pub fn stood(&mut self, origin: Uid, reporter: &str, at: BootInstant) {
        self.slots.stood(origin, reporter, at);
    }

    /// Whether this node's reporters have said something since [`Self::take_said`].
    pub fn has_said(&self) -> bool {
        self.slots.has_said()
    }

    /// What this node's reporters have said since the last time, some of it at a time.
    pub fn take_said(&mut self) -> Said {
        self.slots.take_said()
    }

    fn enter(&mut self, change: SlotChange) {
        let SlotChange { kind, uid, is_heard, what } = change;
        let (stats_only, gone) = match what {
            SlotEffect::Put { stats_only } => (stats_only, None),
            SlotEffect::Gone { name, slots } => (false, Some(Arc::new(View { kind, name, uid, record: None, slots }))),
        };
        self.journal.push(Change { kind, uid, stats_only, is_heard, gone });
    }

    /// One object; `here` is the node that asks.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` for a name that several nodes have, and this one not.
    pub fn get(&self, kind: Kind, key: &Key, here: Option<&Name>) -> Result<View, Refusal> {
        let found = match key {
            Key::Uid(uid) => self.view(*uid).filter(|view| view.kind == kind),
            Key::Name(name) if !kind.is_declared() => self.slots.find(kind, name).and_then(|uid| self.view(uid)),
            Key::OnNode(node, name) if !kind.is_declared() => {
                self.slots.find_on(kind, node.as_str(), name).and_then(|uid| self.view(uid))
            }
            Key::Name(name) => self.choose(kind, name, here)?.map(|record| self.declared_view(record)),
            Key::OnNode(node, name) => self.state.find(kind, Some(node), name).map(|record| self.declared_view(record)),
        };
        found.ok_or_else(|| match key {
            Key::Name(name) => Refusal::not_found(kind, name),
            Key::OnNode(node, name) => Refusal::new(Code::NotFound, format!("no {kind} named {name:?} on node {node}")),
            Key::Uid(uid) => Refusal::new(Code::NotFound, format!("no {kind} with the uid {uid}")),
        })
    }

    /// The object of this name that is meant by somebody here.
    fn choose(&self, kind: Kind, name: &str, here: Option<&Name>) -> Result<Option<&Arc<Record>>, Refusal> {
        let named = self.state.named(kind, name);
        let own = named.iter().find(|record| here.is_some() && record.local_node() == here);
        match (own, named.as_slice()) {
            (Some(own), _) => Ok(Some(own)),
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(only)),
            (None, several) => {
                let nodes: Vec<&str> =
                    several.iter().filter_map(|record| record.local_node()).map(Name::as_str).collect();
                let nodes = nodes.join(", ");
                Err(Refusal::precondition(format!(
                    "there is a {kind} named {name:?} on each of {nodes}: say on which node"
                )))
            }
        }
    }

    /// The objects of the kinds asked for (none: of all), by kind and name.
    pub fn list(&self, kinds: &[Kind]) -> Vec<View> {
        let mut views = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| kinds.is_empty() || kinds.contains(kind)) {
            views.extend(self.state.objects(kind).map(|record| self.declared_view(record)));
            let reported = self.slots.reported(kind);
            views.extend(
                reported.filter_map(|(name, uid)| Some(self.reported_view(name, uid, self.slots.holder(uid)?))),
            );
        }
        views
    }

    /// The state that a watch begins with, and the position it goes on from.
    pub fn watch_state(&self, filter: &WatchFilter) -> (Vec<View>, u64) {
        let mut views = self.list(&filter.kinds);
        views = views.into_iter().filter_map(|view| view.within(filter.here)).collect();
        if filter.without_stats {
            views.iter_mut().for_each(View::drop_stats);
        }
        (views, self.position())
    }

    /// What happened after a position, one event an object and as it is now, at most a batch.
    pub fn changes(&self, position: u64, filter: &WatchFilter) -> Changes {
        let Some(changes) = self.journal.after(position) else { return Changes::Lost };
        let mut latest: BTreeMap<Uid, (u64, &Change)> = BTreeMap::new();
        let mut reached = position;
        let mut bytes = 0;
        for (number, change) in changes {
            if filter.admits(change) {
                if latest.len() == BATCH_OBJECTS_MAX && !latest.contains_key(&change.uid) || bytes > BATCH_BYTES {
                    break;
                }
                if latest.insert(change.uid, (number, change)).is_none() {
                    bytes += self.event_bytes(change);
                }
            }
            reached = number;
        }
        let mut ordered: Vec<_> = latest.into_values().collect();
        ordered.sort_unstable_by_key(|(number, _)| *number);
        let events = ordered.into_iter().filter_map(|(_, change)| self.event(change, filter)).collect();
        Changes::Next { events, position: reached }
    }

    /// Whether a watch can go on from this cursor; if so, the position. `boot` is this life of this replica.
    pub fn resume(&self, cursor: &Cursor, boot: Uid) -> Option<u64> {
        let is_ours =
            cursor.boot == boot && self.state.identity().is_some_and(|identity| identity.epoch == cursor.epoch);
        (is_ours && self.journal.reaches(cursor.number)).then_some(cursor.number)
    }

    fn event(&self, change: &Change, filter: &WatchFilter) -> Option<Event> {
        if let Some(gone) = &change.gone {
            return Some(Event::Delete(Arc::clone(gone)));
        }
        // An object that is gone by now has another change further on, which says so.
        let mut view = self.view(change.uid)?;
        if filter.is_here(view.kind) {
            let (kind, name, uid) = (view.kind, Arc::clone(&view.name), view.uid);
            let gone = || Event::Delete(Arc::new(View { kind, name, uid, record: None, slots: Vec::new() }));
            view = match view.here() {
                Some(view) => view,
                // Others speak of it still.
                None => return Some(gone()),
            };
        }
        if filter.without_stats {
            view.drop_stats();
        }
        Some(Event::Put(view))
    }

    fn event_bytes(&self, change: &Change) -> usize {
        match &change.gone {
            Some(gone) => gone.bytes(),
            None => self.view(change.uid).map_or(0, |view| view.bytes()),
        }
    }

    fn view(&self, uid: Uid) -> Option<View> {
        if let Some(record) = self.state.get(uid) {
            return Some(self.declared_view(record));
        }
        let holder = self.slots.holder(uid)?;
        Some(self.reported_view(holder.name.as_ref()?, uid, holder))
    }

    fn reported_view(&self, name: &Arc<str>, uid: Uid, holder: &Holder) -> View {
        View { kind: holder.kind, name: Arc::clone(name), uid, record: None, slots: self.slots.of(holder) }
    }

    fn declared_view(&self, record: &Arc<Record>) -> View {
        let slots = self.slots.holder(record.uid).map(|holder| self.slots.of(holder)).unwrap_or_default();
        View { slots, ..bare_view(record) }
    }
}

fn bare_view(record: &Arc<Record>) -> View {
    View {
        kind: record.kind,
        name: Arc::from(record.name.as_str()),
        uid: record.uid,
        record: Some(Arc::clone(record)),
        slots: Vec::new(),
    }
}
