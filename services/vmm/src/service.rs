//! The one task that owns the connection to QEMU and with it the machine's state.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use acp_base::{Code, Failure};
use acp_io_qmp::{Client, CloseReason, Events, ExecuteError, Occurrence, Session};
use acp_wire_api::vmm::{MachineState, MachineStatus};
use serde_json::Value;
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, info, warn};

use crate::{
    ailments::{Ailments, Part},
    error::to_failure,
    machine::{Notice, RunState},
    metrics,
};

/// The pause between attempts to connect: short, because starting a system waits for it.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// The pause once QEMU is known to be gone: nobody waits any more.
const GONE_PAUSE: Duration = Duration::from_secs(1);

/// How long QEMU may take to greet. A connection waits in the socket's queue until QEMU runs, so this is long; it ends, so
/// that a connection nobody will ever accept is not kept for ever.
const GREETING_LIMIT: Duration = Duration::from_secs(600);

/// How long a connection that broke without QEMU closing it may be away before the machine counts as gone.
const LOST_LIMIT: Duration = Duration::from_secs(2);

/// Readers of the console at one time: operators and a recorder or two, each of whom holds a connection and a buffer.
const READERS_MAX: u32 = 32;

/// Questions for the newest state that may wait; each asker waits for its own.
const QUESTIONS_MAX: usize = 8;

type Question = oneshot::Sender<MachineStatus>;

/// What the handlers hold: reads the state, has commands executed.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    status: watch::Sender<MachineStatus>,
    client: watch::Sender<Option<Client>>,
    questions: mpsc::Sender<Question>,
}

impl Machine {
    /// The state now, and a way to wait for the next; a slow listener sees the latest.
    pub(crate) fn watch(&self) -> watch::Receiver<MachineStatus> {
        self.status.subscribe()
    }

    /// Executes a command, as soon as QEMU is connected.
    pub(crate) async fn execute(&self, command: &str) -> Result<(), ExecuteOrGone> {
        let client = self.connected().await?;
        info!(command, "QEMU is asked");
        client.execute(command, Value::Null).await.map(drop).map_err(ExecuteOrGone::Execute)
    }

    /// The state as QEMU says it now.
    pub(crate) async fn ask(&self) -> Result<MachineStatus, Failure> {
        let ended = || Failure::unavailable("the vmm is stopping");
        let (question, answer) = oneshot::channel();
        self.questions.send(question).await.map_err(|_unsent| ended())?;
        answer.await.map_err(|_dropped| ended())
    }

    /// Says why the machine stands as it does, beside what QEMU says.
    pub(crate) fn say(&self, reason: &str) {
        self.status.send_if_modified(|status| {
            let is_new = status.reason != reason;
            if is_new {
                reason.clone_into(&mut status.reason);
            }
            is_new
        });
    }

    async fn connected(&self) -> Result<Client, ExecuteOrGone> {
        let mut clients = self.client.subscribe();
        loop {
            let client = clients.borrow_and_update().clone();
            if let Some(client) = client {
                return Ok(client);
            }
            if self.status.borrow().state == MachineState::Gone || clients.changed().await.is_err() {
                return Err(ExecuteOrGone::Gone);
            }
        }
    }

    /// Takes a place among the console's readers; it is given back when dropped.
    pub(crate) fn add_reader(&self) -> Result<ReaderPlace, Failure> {
        let mut is_free = false;
        self.status.send_if_modified(|status| {
            is_free = status.console_readers < READERS_MAX;
            status.console_readers += u32::from(is_free);
            is_free
        });
        if !is_free {
            let message = format!("the console has {READERS_MAX} readers, the most there can be: let one detach");
            return Err(Failure::new(Code::ResourceExhausted, message));
        }
        Ok(ReaderPlace { status: self.status.clone() })
    }
}

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum ExecuteOrGone {
    /// QEMU refused it or did not answer.
    Execute(ExecuteError),
    /// QEMU is gone.
    Gone,
}

impl From<ExecuteOrGone> for Failure {
    fn from(error: ExecuteOrGone) -> Self {
        match error {
            ExecuteOrGone::Execute(error) => to_failure(&error),
            ExecuteOrGone::Gone => Self::precondition("QEMU has ended: the system must be started first"),
        }
    }
}

/// A place among the console's readers.
#[derive(Debug)]
pub(crate) struct ReaderPlace {
    status: watch::Sender<MachineStatus>,
}

impl Drop for ReaderPlace {
    fn drop(&mut self) {
        self.status.send_modify(|status| status.console_readers -= 1);
    }
}

/// Keeps the connection to QEMU and writes the machine's state.
#[derive(Debug)]
pub(crate) struct Monitor {
    socket: PathBuf,
    timeout: Duration,
    ailments: Ailments,
    status: watch::Sender<MachineStatus>,
    client: watch::Sender<Option<Client>>,
    questions: mpsc::Receiver<Question>,
    /// When a machine whose connection broke counts as gone.
    gone_at: Option<Instant>,
}

impl Monitor {
    /// A monitor of the QEMU behind this socket; it does nothing before [`Self::run`].
    pub(crate) fn new(socket: PathBuf, timeout: Duration, ailments: Ailments) -> (Self, Machine) {
        let first = MachineStatus {
            state: MachineState::Connecting,
            run_state: String::new(),
            guest_shutdown: false,
            reason: String::new(),
            console_readers: 0,
        };
        let (status, client) = (watch::Sender::new(first), watch::Sender::new(None));
        let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
        let machine = Machine { status: status.clone(), client: client.clone(), questions: sender };
        (Self { socket, timeout, ailments, status, client, questions, gone_at: None }, machine)
    }

    /// Connects, listens, connects again; never returns.
    pub(crate) async fn run(mut self) {
        loop {
            let session = self.establish().await;
            let reason = self.attend(session).await;
            self.lost(&reason);
        }
    }

    /// Tries until QEMU greets; answers questions meanwhile.
    async fn establish(&mut self) -> Session {
        let (socket, timeout) = (self.socket.clone(), GREETING_LIMIT);
        let mut attempt = Box::pin(greet(socket.clone(), timeout, Duration::ZERO));
        loop {
            let gone_at = self.gone_at;
            tokio::select! {
                result = &mut attempt => match result {
                    Ok(session) => return session,
                    Err(error) => {
                        debug!(%error, "QMP is not there yet");
                        attempt = Box::pin(greet(socket.clone(), timeout, self.pause()));
                    }
                },
                () = sleep_until(gone_at.unwrap_or_else(Instant::now)), if gone_at.is_some() => self.gone(),
                Some(question) = self.questions.recv() => self.reply(question),
            }
        }
    }

    fn pause(&self) -> Duration {
        if self.status.borrow().state == MachineState::Gone { GONE_PAUSE } else { CONNECT_PAUSE }
    }

    async fn attend(&mut self, session: Session) -> CloseReason {
        let Session { greeting, client, mut events, driver } = session;
        let client = client.timeout(self.timeout);
        metrics::connected();
        info!(qemu = greeting.version, "QMP connected");
        self.gone_at = None;
        self.status.send_modify(|status| status.reason.clear());
        let reason = tokio::select! {
            reason = driver.run() => reason,
            () = self.listen(&client, &mut events) => CloseReason::ByUs,
        };
        // QEMU says that it shuts down and closes in one breath.
        while let Some(occurrence) = events.next().await {
            self.take(occurrence, &client).await;
        }
        reason
    }

    async fn listen(&mut self, client: &Client, events: &mut Events) {
        self.refresh(client).await;
        self.client.send_replace(Some(client.clone()));
        loop {
            tokio::select! {
                occurrence = events.next() => match occurrence {
                    Some(occurrence) => self.take(occurrence, client).await,
                    None => return,
                },
                Some(question) = self.questions.recv() => {
                    self.refresh(client).await;
                    self.reply(question);
                }
            }
        }
    }

    async fn take(&mut self, occurrence: Occurrence, client: &Client) {
        match occurrence {
            Occurrence::Event(event) => self.heed(Notice::read(&event), client).await,
            Occurrence::Missed(count) => {
                warn!(count, "events of QEMU were missed");
                self.refresh(client).await;
            }
        }
    }

    async fn heed(&mut self, notice: Notice, client: &Client) {
        metrics::event();
        match notice {
            Notice::Nothing => {}
            Notice::Changed { problem } => {
                if let Some(problem) = problem {
                    warn!(problem, "QEMU reports a problem");
                    self.status.send_modify(|status| status.reason = problem);
                }
                self.refresh(client).await;
            }
            Notice::Shutdown { guest, problem } => {
                info!(guest, problem, "the machine shuts down");
                self.status.send_modify(|status| {
                    status.state = MachineState::Shutdown;
                    status.guest_shutdown = guest;
                    status.reason = problem.unwrap_or_else(|| std::mem::take(&mut status.reason));
                });
            }
        }
    }

    async fn refresh(&self, client: &Client) {
        match client.execute("query-status", Value::Null).await {
            Ok(answer) => {
                let RunState { state, word } = RunState::read(&answer);
                self.ailments.set(Part::Machine, None);
                self.status.send_if_modified(|status| {
                    let is_new = (status.state, status.run_state.as_str()) != (state, word.as_str());
                    if is_new {
                        info!(?state, run_state = word, "the machine's state");
                        status.guest_shutdown &= state == MachineState::Shutdown;
                        (status.state, status.run_state) = (state, word);
                    }
                    is_new
                });
            }
            Err(ExecuteError::Closed { .. }) => debug!("the connection to QEMU ended during a question"),
            Err(error) => {
                warn!(%error, "QEMU does not say how it stands");
                self.ailments.set(Part::Machine, Some(format!("QEMU does not say how it stands: {error}")));
                self.status.send_modify(|status| status.reason = error.to_string());
            }
        }
    }

    fn reply(&self, question: Question) {
        // The asker may have given up.
        drop(question.send(self.status.borrow().clone()));
    }

    fn lost(&mut self, reason: &CloseReason) {
        warn!(%reason, "QMP connection ended");
        match reason {
            CloseReason::ByPeer => self.gone(),
            CloseReason::ByUs | CloseReason::Io(_) | CloseReason::Decode(_) => {
                self.gone_at = Some(Instant::now() + LOST_LIMIT);
                self.status.send_modify(|status| {
                    status.state = MachineState::Connecting;
                    status.reason = format!("{reason}; connecting again");
                });
                self.client.send_replace(None);
            }
        }
    }

    fn gone(&mut self) {
        self.gone_at = None;
        self.status.send_modify(|status| status.state = MachineState::Gone);
        // After the state, so that whoever waits for a client sees why there is none.
        self.client.send_replace(None);
    }
}

async fn greet(socket: PathBuf, timeout: Duration, pause: Duration) -> Result<Session, String> {
    sleep(pause).await;
    let stream = open(&socket).await?;
    acp_io_qmp::connect(stream, timeout).await.map_err(|error| error.to_string())
}

async fn open(socket: &Path) -> Result<UnixStream, String> {
    UnixStream::connect(socket).await.map_err(|error| format!("{}: {error}", socket.display()))
}
