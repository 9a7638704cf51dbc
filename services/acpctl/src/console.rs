//! `acpctl system console`: the terminal becomes the guest's serial console.

mod keyboard;

use std::{ops::ControlFlow, time::Duration};

use acp_base::{Code, Failure, Name};
use acp_client::{ServiceClient, Upgraded};
use acp_wire_api::vmm::{AttachConsole, AttachConsoleRequest};
use acp_wire_model::{
    Kind, Object,
    system::{SystemMeta, SystemState},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};

use self::keyboard::{Keyboard, Typed};
use crate::{session::Session, terminal::RawMode};

/// The pause before a console that was lost is attached to again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long a lost console is tried for: a vmm that restarts is back within a second.
const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// How long one attempt to attach again may take.
const ATTACH_LIMIT: Duration = Duration::from_secs(2);

/// How long output is still shown after input that came from no terminal has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Output taken at once.
const CHUNK_BYTES: usize = 8192;

/// Why a connection to the console is over.
#[derive(Debug)]
enum Parting {
    /// The operator left, or the input ended.
    Left,
    /// The vmm closed: it restarts, or the guest is gone.
    Lost,
}

/// Attaches the terminal until it is left, the input ends, or the system no longer runs.
pub(crate) async fn run(session: &mut Session, name: &Name, backlog: Option<u32>) -> Result<u8, Failure> {
    let system = session.get(Kind::System, name.as_str()).await?;
    monitor(session, &system)?;
    let mut console = Console::new(name.clone(), system)?;
    let mut io = console.attach(session, AttachConsoleRequest { backlog_bytes: backlog, position: None }).await?;
    let raw = console.keyboard.is_terminal().then(RawMode::enter).transpose();
    let raw = raw.map_err(|error| Failure::internal(format!("the terminal cannot be put into raw mode: {error}")))?;
    console.say(&format!("console of {name}; Ctrl-] leaves"));
    let result = console.stay(session, &mut io).await;
    drop(raw);
    result.map(|()| crate::DONE)
}

/// The system's vmm, which is there while the system runs. At a node's own sockets that is seen; of another node's it is what
/// the hypervisor has reported.
pub(crate) fn monitor(session: &Session, system: &Object) -> Result<ServiceClient, Failure> {
    let meta = system.meta_as::<SystemMeta>();
    if session.is_elsewhere() && meta.is_none_or(|meta| !has_console(meta.state)) {
        return Err(not_running(session, system));
    }
    session.vmm(&system.uid).map_err(|_missing| not_running(session, system))
}

const fn has_console(state: SystemState) -> bool {
    match state {
        SystemState::Starting | SystemState::Running | SystemState::Paused | SystemState::Stopping => true,
        SystemState::Creating | SystemState::Stopped | SystemState::Failed | SystemState::Deleting => false,
    }
}

/// Why there is no console.
fn not_running(session: &Session, system: &Object) -> Failure {
    let state = system.meta().and_then(|slot| slot.data["state"].as_str().map(str::to_owned));
    let state = state.unwrap_or_else(|| "not running".to_owned());
    let name = &system.name;
    Failure::precondition(format!(
        "system {name} is {state}, and has a console only while it runs; start it with: {}",
        session.advice(&format!("system start {name}"))
    ))
}

#[derive(Debug)]
struct Console {
    name: Name,
    system: Object,
    keyboard: Keyboard,
    signals: [Signal; 4],
    /// Position after the last byte shown.
    position: u64,
}

impl Console {
    fn new(name: Name, system: Object) -> Result<Self, Failure> {
        let broken = |error: std::io::Error| Failure::internal(format!("cannot use the terminal: {error}"));
        let watch = |kind| signal(kind).map_err(broken);
        let signals = [
            watch(SignalKind::terminate())?,
            watch(SignalKind::hangup())?,
            watch(SignalKind::interrupt())?,
            watch(SignalKind::quit())?,
        ];
        Ok(Self { name, system, keyboard: Keyboard::open().map_err(broken)?, signals, position: 0 })
    }

    async fn attach(&mut self, session: &Session, request: AttachConsoleRequest) -> Result<Upgraded, Failure> {
        let vmm = session.vmm(&self.system.uid)?;
        let vmm = if request.position.is_some() { vmm.deadline(ATTACH_LIMIT) } else { vmm };
        let (reply, io) = vmm.upgrade::<AttachConsole>(request).await?;
        self.position = reply.position;
        if reply.lost_bytes > 0 {
            self.say(&format!("{} bytes of output were lost", reply.lost_bytes));
        }
        Ok(io)
    }

    async fn stay(&mut self, session: &mut Session, io: &mut Upgraded) -> Result<(), Failure> {
        let mut is_told = false;
        loop {
            let before = self.position;
            match self.converse(session, io).await? {
                Parting::Left => return Ok(()),
                Parting::Lost => is_told &= self.position == before,
            }
            if !is_told {
                self.say("connection lost; attaching again, Ctrl-] leaves");
                is_told = true;
            }
            match self.attach_again(session).await? {
                ControlFlow::Continue(again) => *io = again,
                ControlFlow::Break(()) => return Ok(()),
            }
        }
    }

    async fn converse(&mut self, session: &mut Session, io: &mut Upgraded) -> Result<Parting, Failure> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            tokio::select! {
                read = io.read(&mut chunk) => match read {
                    Ok(count @ 1..) => self.show(session, &chunk[..count])?,
                    Ok(0) | Err(_) => return Ok(Parting::Lost),
                },
                typed = self.keyboard.read() => match typed.map_err(|error| keyboard_failure(&error))? {
                    Typed::Bytes(bytes) => if io.write_all(&bytes).await.is_err() {
                        return Ok(Parting::Lost);
                    },
                    Typed::Leave(bytes) => {
                        // It is left either way.
                        drop(io.write_all(&bytes).await);
                        return Ok(Parting::Left);
                    }
                    Typed::End => {
                        self.show_rest(session, io).await?;
                        return Ok(Parting::Left);
                    }
                },
                name = ended(&mut self.signals) => return Err(Failure::new(Code::Cancelled, format!("ended by {name}"))),
            }
        }
    }

    /// Input that came from no terminal is over: what the guest answers right away is shown.
    async fn show_rest(&mut self, session: &mut Session, io: &mut Upgraded) -> Result<(), Failure> {
        if io.shutdown().await.is_err() {
            return Ok(());
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(Ok(count @ 1..)) = timeout(LAST_OUTPUT, io.read(&mut chunk)).await {
            self.show(session, &chunk[..count])?;
        }
        Ok(())
    }

    fn show(&mut self, session: &mut Session, bytes: &[u8]) -> Result<(), Failure> {
        self.position += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        session.out.writer().bytes(bytes)
    }

    /// Tries until the console is there again, the system has ended, or the operator leaves.
    async fn attach_again(&mut self, session: &Session) -> Result<ControlFlow<(), Upgraded>, Failure> {
        let attempts = async {
            loop {
                sleep(RETRY_PAUSE).await;
                if let Some(end) = has_ended(session, &self.name, &self.system).await {
                    return Ok(Err(end));
                }
                let request = AttachConsoleRequest { backlog_bytes: None, position: Some(self.position) };
                let Ok(vmm) = session.vmm(&self.system.uid) else { continue };
                if let Ok((reply, io)) = vmm.deadline(ATTACH_LIMIT).upgrade::<AttachConsole>(request).await {
                    return Ok(Ok((reply, io)));
                }
            }
        };
        let result = tokio::select! {
            result = timeout(RETRY_LIMIT, attempts) => result.unwrap_or_else(|_elapsed| {
                Err(Failure::unavailable(format!("the console of {} did not come back within {RETRY_LIMIT:?}", self.name)))
            })?,
            result = wait_for_leave(&mut self.keyboard) => {
                result?;
                return Ok(ControlFlow::Break(()));
            }
            name = ended(&mut self.signals) => return Err(Failure::new(Code::Cancelled, format!("ended by {name}"))),
        };
        match result {
            Ok((reply, io)) => {
                self.position = reply.position;
                if reply.lost_bytes > 0 {
                    self.say(&format!("attached again; {} bytes of output were lost", reply.lost_bytes));
                }
                Ok(ControlFlow::Continue(io))
            }
            Err(end) => {
                self.say(&end);
                Ok(ControlFlow::Break(()))
            }
        }
    }

    fn say(&self, text: &str) {
        let end = if self.keyboard.is_terminal() { "\r" } else { "" };
        crate::error::say(&format!("{end}[acp: {text}]{end}"));
    }
}

/// Why there will be no console again, if that is so.
async fn has_ended(session: &Session, name: &Name, before: &Object) -> Option<String> {
    match session.get(Kind::System, name.as_str()).await {
        Ok(now) if now.uid != before.uid => Some(format!("system {name} was deleted")),
        Ok(now) => now.meta_as::<SystemMeta>().and_then(|meta| end(name, &meta)),
        Err(failure) if failure.code == Code::NotFound => Some(format!("system {name} was deleted")),
        // Who does not answer now may do so at the next attempt.
        Err(_) => None,
    }
}

fn end(name: &Name, meta: &SystemMeta) -> Option<String> {
    let word = match meta.state {
        SystemState::Stopped => "is stopped",
        SystemState::Failed => "has failed",
        SystemState::Deleting => "is being deleted",
        SystemState::Creating
        | SystemState::Starting
        | SystemState::Running
        | SystemState::Paused
        | SystemState::Stopping => {
            return None;
        }
    };
    let reason = if meta.reason.is_empty() { String::new() } else { format!(": {}", meta.reason) };
    Some(format!("system {name} {word}{reason}"))
}

async fn wait_for_leave(keyboard: &mut Keyboard) -> Result<(), Failure> {
    loop {
        match keyboard.read().await.map_err(|error| keyboard_failure(&error))? {
            // What is typed while nobody listens is not kept.
            Typed::Bytes(_) => {}
            Typed::Leave(_) | Typed::End => return Ok(()),
        }
    }
}

async fn ended(signals: &mut [Signal; 4]) -> &'static str {
    let [terminate, hangup, interrupt, quit] = signals;
    tokio::select! {
        _terminate = terminate.recv() => "SIGTERM",
        _hangup = hangup.recv() => "SIGHUP",
        _interrupt = interrupt.recv() => "SIGINT",
        _quit = quit.recv() => "SIGQUIT",
    }
}

fn keyboard_failure(error: &std::io::Error) -> Failure {
    Failure::internal(format!("the standard input cannot be read: {error}"))
}
