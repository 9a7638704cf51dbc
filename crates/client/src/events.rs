//! What has happened in the cluster: the entries of its log, with a cursor that goes on behind any of them on any node.
//!
//! **Invariant**: no entry is left out unsaid. Whoever goes on after a cursor is refused by a node whose log does not hold that
//! entry, whether it was trimmed or the cluster went on without it in another epoch; and a hole is a failure.

use std::{str::FromStr, time::Duration};

use acp_base::Failure;
use acp_io_client::Replies;
use acp_wire_api::{
    Empty,
    cluster::{
        GetStatus, LogEntry, ReadLog, ReadLogReply, ReadLogRequest, Undo, UndoRequest, VerifyLog, VerifyLogReply,
        WriteReply,
    },
};
use acp_wire_model::entry::Entry;

use crate::{Connection, home::CLUSTER};

/// The pause before a stream that was lost is taken up again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// An entry of the log with its fate.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its position in the log.
    pub index: u64,
    /// The entry; `None`: of a kind that this version does not know.
    pub entry: Option<Entry>,
    /// The chain's hash after it, 64 hexadecimal digits.
    pub hash: String,
    /// Why it was refused; `None`: it was done.
    pub refused: Option<String>,
    /// `<epoch>:<index>`: where to go on after it, on any node.
    pub cursor: String,
}

impl From<LogEntry> for Event {
    fn from(said: LogEntry) -> Self {
        let index = said.entry["index"].as_u64().unwrap_or_default();
        let entry = serde_json::from_value(said.entry).ok();
        Self { index, entry, hash: said.hash, refused: said.refused, cursor: said.cursor }
    }
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventStart {
    /// With the entry of this index; the first one has 1.
    Index(u64),
    /// After an entry that was seen, by its cursor.
    After(String),
}

impl FromStr for EventStart {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text.parse() {
            Ok(0) => Err(Failure::invalid("the first entry has index 1")),
            Ok(index) => Ok(Self::Index(index)),
            Err(_no_number) if text.contains(':') => Ok(Self::After(text.to_owned())),
            Err(_no_number) => {
                Err(Failure::invalid(format!("{text:?} is neither an index nor a cursor, which is like 1-0a1b2c3d:42")))
            }
        }
    }
}

impl EventStart {
    fn request(&self, follow: bool) -> ReadLogRequest {
        match self {
            Self::Index(index) => ReadLogRequest { from: *index, cursor: None, follow },
            Self::After(cursor) => ReadLogRequest { from: 0, cursor: Some(cursor.clone()), follow },
        }
    }
}

/// The entries of the log, as a node's replica has them.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    connection: &'a Connection,
}

impl<'a> Events<'a> {
    pub(crate) const fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// At most so many events from there on.
    ///
    /// # Errors
    /// `FailedPrecondition` if the node's log does not hold what the start names.
    pub async fn list(self, start: EventStart, limit: usize) -> Result<Vec<Event>, Failure> {
        self.read(Reader::new(start), limit).await
    }

    async fn read(self, mut reader: Reader, limit: usize) -> Result<Vec<Event>, Failure> {
        let request = reader.start.request(false);
        let mut replies = self.connection.service(CLUSTER)?.stream::<ReadLog>(request).await?.bounded();
        let mut events = Vec::new();
        while let Some(reply) = replies.next().await {
            events.extend(reader.take(reply?)?);
            if events.len() >= limit {
                break;
            }
        }
        events.truncate(limit);
        Ok(events)
    }

    /// The newest events, at most so many.
    pub async fn newest(self, limit: usize) -> Result<Vec<Event>, Failure> {
        let status = self.connection.call::<GetStatus>(CLUSTER, Empty {}).await?;
        let count = u64::try_from(limit).unwrap_or(u64::MAX);
        // What the state at the anchor holds is not kept as entries, after a restore or a return nothing of what was before.
        let from = (status.index + 1).saturating_sub(count).max(status.anchor + 1);
        self.read(Reader { is_exact: false, ..Reader::new(EventStart::Index(from)) }, limit).await
    }

    /// One event.
    pub async fn get(self, index: u64) -> Result<Event, Failure> {
        let found = self.list(EventStart::Index(index.max(1)), 1).await?.pop();
        found.ok_or_else(|| Failure::not_found(format!("there is no event {index}: the log does not go that far")))
    }

    /// The events from there on and every new one, however often daemons on the way restart.
    pub fn follow(self, start: EventStart) -> EventsWatch {
        EventsWatch { connection: self.connection.clone(), reader: Reader::new(start), replies: None, is_lost: false }
    }

    /// Declares the opposite of an entry.
    pub async fn undo(self, index: u64) -> Result<WriteReply, Failure> {
        self.connection.call::<Undo>(CLUSTER, UndoRequest { index }).await
    }

    /// Has the node recompute the chain over its stored log, which takes its time.
    pub async fn verify(self) -> Result<VerifyLogReply, Failure> {
        self.connection.call::<VerifyLog>(CLUSTER, Empty {}).await
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct EventsWatch {
    connection: Connection,
    reader: Reader,
    replies: Option<Replies<ReadLog>>,
    is_lost: bool,
}

impl EventsWatch {
    /// What comes next. `Unavailable`: the stream was lost; asking again takes it up behind the last event.
    ///
    /// # Errors
    /// What cannot be gone on from, as for [`Events::list`].
    pub async fn next(&mut self) -> Result<Vec<Event>, Failure> {
        let answer = self.try_next().await;
        if answer.is_err() {
            self.replies = None;
            self.is_lost = true;
        }
        answer
    }

    async fn try_next(&mut self) -> Result<Vec<Event>, Failure> {
        if std::mem::take(&mut self.is_lost) {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let replies = match &mut self.replies {
            Some(replies) => replies,
            None => {
                self.reader.last = None;
                let request = self.reader.start.request(true);
                let replies = self.connection.service(CLUSTER)?.stream::<ReadLog>(request).await?;
                self.replies.insert(replies)
            }
        };
        let reply = replies.next().await.unwrap_or_else(|| Err(Failure::unavailable("the log's stream ended")))?;
        self.reader.take(reply)
    }
}

/// Takes entries in their order, and sees that none is missing.
#[derive(Debug)]
struct Reader {
    start: EventStart,
    /// The last index that the present stream has brought.
    last: Option<u64>,
    /// Whether the first entry has to be the one asked for, and not the oldest after it.
    is_exact: bool,
}

impl Reader {
    const fn new(start: EventStart) -> Self {
        Self { start, last: None, is_exact: true }
    }

    fn take(&mut self, reply: ReadLogReply) -> Result<Vec<Event>, Failure> {
        let events: Vec<_> = reply.entries.into_iter().map(Event::from).collect();
        for event in &events {
            self.check(event.index)?;
            self.last = Some(event.index);
            self.start = EventStart::After(event.cursor.clone());
        }
        Ok(events)
    }

    fn check(&self, index: u64) -> Result<(), Failure> {
        let wanted = match (&self.start, self.last) {
            (_, Some(last)) => last + 1,
            (EventStart::Index(first), None) if self.is_exact => *first,
            // A cursor is checked by the node.
            (EventStart::After(_) | EventStart::Index(_), None) => index,
        };
        if index == wanted {
            return Ok(());
        }
        Err(Failure::precondition(format!(
            "the log of this node does not hold entry {wanted} any more: begin with {index}, its oldest from there on, or ask \
             another node"
        )))
    }
}

#[cfg(test)]
mod tests {
    use acp_base::Code;
    use serde_json::json;

    use super::*;

    /// Entries of these indexes.
    fn reply(indexes: std::ops::RangeInclusive<u64>) -> ReadLogReply {
        let entry = |index: u64| {
            json!({
                "index": index, "epoch": {"number": 1, "id": "00000000-0000-0000-0000-0000000000aa"}, "time": 5,
                "actor": "root", "request": "", "action": {"type": "feature_level", "level": 2},
            })
        };
        let said = |index: u64| {
            let cursor = format!("1-000000aa:{index}");
            LogEntry { entry: entry(index), hash: "00".into(), refused: None, cursor }
        };
        ReadLogReply { entries: indexes.map(said).collect() }
    }

    fn start(text: &str) -> EventStart {
        text.parse().expect(text)
    }

    fn indexes(taken: Result<Vec<Event>, Failure>) -> Vec<u64> {
        taken.expect("taken").iter().map(|event| event.index).collect()
    }

    #[test]
    fn a_start_is_an_index_or_a_cursor() {
        assert_eq!(start("17").request(true), ReadLogRequest { from: 17, cursor: None, follow: true });
        let cursor = Some("1-000000aa:4".to_owned());
        assert_eq!(start("1-000000aa:4").request(false), ReadLogRequest { from: 0, cursor, follow: false });
        for bad in ["0", "", "-1", "n1"] {
            assert!(bad.parse::<EventStart>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_never_left_out_unsaid() {
        let mut reader = Reader::new(start("2"));
        assert!(reader.take(reply(9..=9)).expect_err("trimmed").message.contains("begin with 9"));
        assert_eq!(indexes(reader.take(reply(2..=3))), [2, 3]);
        assert_eq!(reader.take(reply(5..=5)).expect_err("a hole").code, Code::FailedPrecondition);
        assert_eq!(reader.start, start("1-000000aa:3"), "it is taken up again behind the last one");
        let mut newest = Reader { is_exact: false, ..Reader::new(start("2")) };
        assert_eq!(indexes(newest.take(reply(9..=9))), [9]);
        assert_eq!(indexes(Reader::new(start("1-000000aa:3")).take(reply(4..=4))), [4]);
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_passed_on_as_such() {
        let mut strange = reply(1..=1);
        strange.entries[0].entry = json!({"index": 1, "unreadable": "a kind of tomorrow"});
        let mut reader = Reader::new(start("1"));
        let event = reader.take(strange).expect("taken").remove(0);
        assert_eq!((event.index, event.entry.is_none()), (1, true));
        assert_eq!(indexes(reader.take(reply(2..=2))), [2]);
    }
}
