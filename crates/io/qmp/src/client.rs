//! The handles that users hold: one to execute commands, one to hear events.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};

use crate::{
    codec::Event,
    error::{ErrorClass, ExecuteError},
};

/// Commands that may wait for an answer at one time. QEMU itself stops reading a monitor that has 8 commands queued
/// (`QMP_REQ_QUEUE_LEN_MAX`).
pub(crate) const IN_FLIGHT_MAX: usize = 8;

/// Events that a listener may fall behind before it loses the oldest and is told so: far more than QEMU sends between two
/// turns of a healthy listener, little memory.
pub(crate) const EVENTS_MAX: usize = 128;

/// How long a command may take if nobody says otherwise. QEMU answers in microseconds unless its main loop hangs.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// The answer to a command: its result, or QEMU's class and words.
pub(crate) type Answer = Result<Value, (ErrorClass, String)>;

/// A command on its way to the driver. The permit lives until the answer comes, whether or not anybody still waits for it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) command: String,
    pub(crate) arguments: Value,
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) answer: oneshot::Sender<Answer>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Executes commands. Clones share the connection, which ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    requests: mpsc::Sender<Request>,
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl Client {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(IN_FLIGHT_MAX);
        (Self { requests, permits: Arc::new(Semaphore::new(IN_FLIGHT_MAX)), timeout: TIMEOUT_DEFAULT }, receiver)
    }

    /// The same client with another time for each command, waiting for its turn included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Executes a command; `arguments` is an object, or null for none. Dropping the future stops the waiting, not the
    /// command.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, ExecuteError> {
        self.execute_within(command, arguments, None).await
    }

    /// Hands a file descriptor to QEMU under this name (`getfd`), for commands that take one by name.
    pub async fn send_fd(&self, name: &str, fd: OwnedFd) -> Result<(), ExecuteError> {
        self.execute_within("getfd", json!({ "fdname": name }), Some(fd)).await.map(drop)
    }

    async fn execute_within(
        &self,
        command: &str,
        arguments: Value,
        fd: Option<OwnedFd>,
    ) -> Result<Value, ExecuteError> {
        let length = arguments.to_string().len() + command.len();
        if length >= crate::MESSAGE_BYTES_MAX {
            return Err(ExecuteError::TooLong { command: command.to_owned(), bytes: length });
        }
        let answered = tokio::time::timeout(self.timeout, self.ask(command, arguments, fd)).await;
        answered
            .unwrap_or_else(|_elapsed| Err(ExecuteError::TimedOut { command: command.to_owned(), limit: self.timeout }))
    }

    async fn ask(&self, command: &str, arguments: Value, fd: Option<OwnedFd>) -> Result<Value, ExecuteError> {
        let closed = || ExecuteError::Closed { command: command.to_owned() };
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_closed| closed())?;
        let (answer, receiver) = oneshot::channel();
        let request = Request { command: command.to_owned(), arguments, fd, answer, permit };
        self.requests.send(request).await.map_err(|_returned| closed())?;
        let answer = receiver.await.map_err(|_dropped| closed())?;
        answer.map_err(|(class, desc)| ExecuteError::Refused { command: command.to_owned(), class, desc })
    }
}

/// What [`Events`] yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Occurrence {
    /// An event.
    Event(Event),
    /// The listener was too slow and missed this many events: ask QEMU how things stand.
    Missed(u64),
}

/// Events of the connection, from the moment it was set up.
#[derive(Debug)]
pub struct Events(pub(crate) broadcast::Receiver<Event>);

impl Events {
    /// The next one; `None` when the connection has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Occurrence> {
        match self.0.recv().await {
            Ok(event) => Some(Occurrence::Event(event)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Occurrence::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
