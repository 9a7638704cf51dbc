//! Answers to requests with an `Idempotency-Key`, kept so that a request that comes again is not executed again.
//!
//! What a request is about to do is on disk before it is begun, and its answer before it is given: a process that dies in
//! between leaves a request whose outcome nobody knows, and says so. Deliberately not here: executing anything.
//!
//! **Invariants**: a request of one key is begun at most once while its record is kept. No secret is written: requests are kept as
//! hashes, and answers that hold a secret without their body.

mod file;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_base::{Blame, Code, Failure, Uid, from_hex, to_hex};
use acp_io_daemon::wall_now;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    limits::{ANSWER_KEPT_MS, ANSWERS_MAX, ANSWERS_PER_KEY_MAX, SWEEP_MS},
    problem::Refusal,
};

/// What tells two requests apart: whose key, and which idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    owner: Uid,
    /// The hash of owner and idempotency key, which names the record.
    digest: [u8; 32],
}

impl Ticket {
    pub(crate) fn new(owner: Uid, idempotency_key: &str) -> Self {
        let hash = Sha256::new_with_prefix(owner.as_u128().to_be_bytes()).chain_update(idempotency_key);
        Self { owner, digest: hash.finalize().into() }
    }

    fn file_name(&self) -> String {
        to_hex(&self.digest)
    }
}

/// What a request amounts to: method, target and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn new(method: &str, target: &str, body: &[u8]) -> Self {
        let hash = Sha256::new_with_prefix(method).chain_update([0]).chain_update(target).chain_update([0]);
        Self(hash.chain_update(body).finalize().into())
    }
}

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) status: u16,
    pub(crate) media_type: String,
    pub(crate) location: Option<String>,
    /// The body; absent: it was not kept, for the reason in `why`.
    pub(crate) body: Option<String>,
    /// Why there is no body.
    #[serde(default)]
    pub(crate) why: String,
}

/// A request as it lies on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    owner: Uid,
    digest: String,
    fingerprint: String,
    begun_ms: u64,
    answer: Option<Kept>,
}

/// A request as it is remembered.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    fingerprint: Fingerprint,
    begun_ms: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is being executed.
    Running,
    /// It was answered; the answer is on disk.
    Answered,
    /// It was begun, and what became of it is not known.
    Unknown,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Begun {
    /// Execute it: it is written down.
    Fresh,
    /// Answer this.
    Answered(Kept),
}

/// The answers that are kept. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    directory: PathBuf,
    index: Arc<Mutex<Index>>,
}

#[derive(Debug, Default)]
struct Index {
    requests: BTreeMap<Ticket, Remembered>,
    swept_ms: u64,
}

impl Answers {
    /// Reads what an earlier process left. Blocks.
    ///
    /// # Errors
    /// If the directory cannot be read, or a newer version of ACP has written there.
    pub(crate) fn open(directory: PathBuf) -> Result<Self, acp_io_record::RecordError> {
        let now = wall_now().0;
        let mut index = Index { requests: BTreeMap::new(), swept_ms: now };
        for record in file::read_all(&directory)? {
            let Some((ticket, remembered)) = remember(&record) else { continue };
            if is_over(&remembered, now) || index.requests.len() == ANSWERS_MAX {
                file::remove(&directory, &ticket);
            } else {
                index.requests.insert(ticket, remembered);
            }
        }
        Ok(Self { directory, index: Arc::new(Mutex::new(index)) })
    }

    /// Begins a request, or finds its answer.
    pub(crate) async fn begin(&self, ticket: Ticket, fingerprint: Fingerprint) -> Result<Begun, Refusal> {
        let begun_ms = wall_now().0;
        match self.admit(ticket, fingerprint, begun_ms)? {
            Stage::Answered => self.kept(ticket).await.map(Begun::Answered),
            Stage::Unknown => Err(Refusal::outcome_unknown()),
            Stage::Running => {
                let written = self.write(ticket, fingerprint, begun_ms, None).await;
                written.map(|()| Begun::Fresh).map_err(|failure| {
                    self.lock().requests.remove(&ticket);
                    Refusal::from(failure)
                })
            }
        }
    }

    /// The request was answered. Once this returns a restart answers the same.
    pub(crate) async fn end(&self, ticket: Ticket, answer: Kept) {
        let Some(remembered) = self.lock().requests.get(&ticket).copied() else { return };
        let written = self.write(ticket, remembered.fingerprint, remembered.begun_ms, Some(answer)).await;
        let stage = match written {
            Ok(()) => Stage::Answered,
            Err(failure) => {
                tracing::error!(%failure, "an answer is not kept: its request will be called one of unknown outcome");
                Stage::Unknown
            }
        };
        if let Some(remembered) = self.lock().requests.get_mut(&ticket) {
            remembered.stage = stage;
        }
    }

    /// The request changed nothing and may be sent again.
    pub(crate) async fn forget(&self, ticket: Ticket) {
        let directory = self.directory.clone();
        blocking(move || {
            file::remove(&directory, &ticket);
            Ok(())
        })
        .await
        .unwrap_or_else(|failure| tracing::warn!(%failure, "a request that changed nothing stays written down"));
        self.lock().requests.remove(&ticket);
    }

    /// Notes that the request runs, unless it is known already: then how far it is.
    fn admit(&self, ticket: Ticket, fingerprint: Fingerprint, now: u64) -> Result<Stage, Refusal> {
        let mut index = self.lock();
        if now.saturating_sub(index.swept_ms) > SWEEP_MS || index.requests.len() >= ANSWERS_MAX {
            self.sweep(&mut index, now);
        }
        match index.requests.get(&ticket).filter(|known| !is_over(known, now)) {
            Some(known) if known.fingerprint != fingerprint => return Err(Refusal::other_request()),
            Some(known) if known.stage == Stage::Running => return Err(Refusal::still_running()),
            Some(known) => return Ok(known.stage),
            None => {}
        }
        let own = index.requests.keys().filter(|known| known.owner == ticket.owner).count();
        if own >= ANSWERS_PER_KEY_MAX || index.requests.len() >= ANSWERS_MAX {
            return Err(full().into());
        }
        index.requests.insert(ticket, Remembered { fingerprint, begun_ms: now, stage: Stage::Running });
        Ok(Stage::Running)
    }

    /// Forgets what has been kept long enough. A request that runs stays, however long that takes.
    fn sweep(&self, index: &mut Index, now: u64) {
        index.swept_ms = now;
        index.requests.retain(|ticket, remembered| {
            let is_kept = !is_over(remembered, now);
            if !is_kept {
                file::remove(&self.directory, ticket);
            }
            is_kept
        });
    }

    async fn kept(&self, ticket: Ticket) -> Result<Kept, Refusal> {
        let directory = self.directory.clone();
        let record = blocking(move || file::read(&directory, &ticket)).await?;
        let answer = record.and_then(|record| record.answer).ok_or_else(Refusal::outcome_unknown)?;
        if answer.body.is_none() { Err(Refusal::answer_not_kept(&answer.why)) } else { Ok(answer) }
    }

    async fn write(
        &self,
        ticket: Ticket,
        print: Fingerprint,
        begun_ms: u64,
        answer: Option<Kept>,
    ) -> Result<(), Failure> {
        let (owner, digest, fingerprint) = (ticket.owner, ticket.file_name(), to_hex(&print.0));
        let record = Record { owner, digest, fingerprint, begun_ms, answer };
        let directory = self.directory.clone();
        blocking(move || file::write(&directory, &ticket, &record)).await
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what waits for a disk where nobody waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, std::io::Error> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Failure::unavailable(format!("the API is ending: {error}")))?;
    done.map_err(|error| Failure::unavailable(format!("answers cannot be kept: {error}")).blame(Blame::Operator))
}

const fn is_over(remembered: &Remembered, now: u64) -> bool {
    let is_running = matches!(remembered.stage, Stage::Running);
    !is_running && now.saturating_sub(remembered.begun_ms) >= ANSWER_KEPT_MS
}

fn full() -> Failure {
    let text = format!(
        "answers to {ANSWERS_PER_KEY_MAX} requests of this key or {ANSWERS_MAX} of all are kept, the most for 24 hours: send \
         requests without Idempotency-Key, or wait"
    );
    Failure::new(Code::ResourceExhausted, text).blame(Blame::Caller)
}

fn remember(record: &Record) -> Option<(Ticket, Remembered)> {
    let stage = if record.answer.is_some() { Stage::Answered } else { Stage::Unknown };
    let ticket = Ticket { owner: record.owner, digest: digest(&record.digest)? };
    let fingerprint = Fingerprint(digest(&record.fingerprint)?);
    Some((ticket, Remembered { fingerprint, begun_ms: record.begun_ms, stage }))
}

fn digest(text: &str) -> Option<[u8; 32]> {
    from_hex(text)?.try_into().ok()
}

#[cfg(test)]
mod tests;
