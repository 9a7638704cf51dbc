//! `acp.vmm`: from the wire to the machine and the console, and back.

use std::pin::Pin;

use acp_base::Failure;
use acp_io_client::Upgraded;
use acp_io_daemon::{Router, Sink};
use acp_wire_api::{
    Empty,
    vmm::{
        AttachConsole, AttachConsoleReply, AttachConsoleRequest, ExtendLease, ExtendLeaseRequest, MachineStatus,
        Powerdown, Quit, ReadConsole, ReadConsoleReply, ReadConsoleRequest, Reset, Resume, Watch,
    },
};
use tracing::debug;

use crate::{
    console::{self, Console, Piece},
    error::to_failure,
    lease::Lease,
    service::{ExecuteOrGone, Machine},
};

/// The most of a console's log that one call answers, in bytes.
const READ_BYTES_MAX: u32 = 1 << 20;

/// A reader being served.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Every method of `acp.vmm`.
pub(crate) fn router(machine: &Machine, console: &Console, lease: &Lease) -> Router {
    let mut router = Router::new();
    let m = machine.clone();
    router.stream::<Watch, _, _>(move |_call, sink| watch(m.clone(), sink));
    let (m, l) = (machine.clone(), lease.clone());
    router.once::<Resume, _, _>(move |_call| resume(m.clone(), l.clone()));
    let (m, l) = (machine.clone(), lease.clone());
    router.once::<ExtendLease, _, _>(move |call| extend(m.clone(), l.clone(), call.request));
    let m = machine.clone();
    router.once::<Powerdown, _, _>(move |_call| press(m.clone(), "system_powerdown"));
    let m = machine.clone();
    router.once::<Reset, _, _>(move |_call| press(m.clone(), "system_reset"));
    let m = machine.clone();
    router.once::<Quit, _, _>(move |_call| quit(m.clone()));
    let (m, c) = (machine.clone(), console.clone());
    router.upgrade::<AttachConsole, _, _, _, _>(move |call| std::future::ready(attach(&m, &c, &call.request)));
    let c = console.clone();
    router.stream::<ReadConsole, _, _>(move |call, sink| read(c.clone(), call.request, sink));
    router
}

async fn watch(machine: Machine, sink: Sink<Watch>) -> Result<MachineStatus, Failure> {
    let mut changes = machine.watch();
    loop {
        let status = changes.borrow_and_update().clone();
        sink.send(status.clone()).await?;
        if changes.changed().await.is_err() {
            return Ok(status);
        }
    }
}

async fn extend(machine: Machine, lease: Lease, request: ExtendLeaseRequest) -> Result<MachineStatus, Failure> {
    lease.extend(request).await?;
    let status = machine.watch().borrow().clone();
    Ok(status)
}

async fn resume(machine: Machine, lease: Lease) -> Result<MachineStatus, Failure> {
    lease.may_run()?;
    machine.execute("cont").await?;
    machine.ask().await
}

async fn press(machine: Machine, button: &'static str) -> Result<Empty, Failure> {
    machine.execute(button).await?;
    Ok(Empty {})
}

/// A QEMU that is gone, or goes before it answers, has done what was asked.
async fn quit(machine: Machine) -> Result<Empty, Failure> {
    match machine.execute("quit").await {
        Ok(()) | Err(ExecuteOrGone::Gone) => Ok(Empty {}),
        Err(ExecuteOrGone::Execute(acp_io_qmp::ExecuteError::Closed { .. })) => Ok(Empty {}),
        Err(ExecuteOrGone::Execute(error)) => Err(to_failure(&error)),
    }
}

fn attach(
    machine: &Machine,
    console: &Console,
    request: &AttachConsoleRequest,
) -> Result<(AttachConsoleReply, impl FnOnce(Upgraded) -> Serving + Send + use<>), Failure> {
    let place = machine.add_reader()?;
    look(console);
    let console = console.clone();
    let beginning = console.beginning(request.position, request.backlog_bytes);
    let reply = AttachConsoleReply { position: beginning.position, lost_bytes: beginning.lost_bytes };
    let serve = move |io: Upgraded| -> Serving {
        Box::pin(async move {
            console::serve(console, beginning.position, io).await;
            drop(place);
        })
    };
    Ok((reply, serve))
}

async fn read(
    console: Console,
    request: ReadConsoleRequest,
    sink: Sink<ReadConsole>,
) -> Result<ReadConsoleReply, Failure> {
    let wanted = request.bytes;
    if wanted > READ_BYTES_MAX {
        return Err(Failure::invalid(format!(
            "{wanted} bytes are more than the {READ_BYTES_MAX} that one call answers"
        )));
    }
    look(&console);
    let end = console.end();
    let mut position = end.saturating_sub(u64::from(wanted)).max(console.oldest());
    let mut pending = collect(&console, &mut position, end)?;
    if !request.follow {
        return Ok(ReadConsoleReply { text: String::from_utf8_lossy(&pending).into_owned() });
    }
    let mut progress = console.watch();
    loop {
        sink.send(ReadConsoleReply { text: console::take_text(&mut pending) }).await?;
        let seen = position;
        let now = loop {
            let now = *progress.borrow_and_update();
            if now.end > seen || now.is_over {
                break now;
            }
            progress.changed().await.map_err(|_closed| Failure::unavailable("the console ended"))?;
        };
        let end = now.end.min(position + u64::from(READ_BYTES_MAX));
        pending.extend(collect(&console, &mut position, end)?);
        if now.is_over && position >= now.end {
            return Ok(ReadConsoleReply { text: String::from_utf8_lossy(&pending).into_owned() });
        }
    }
}

/// The output from `position`, which moves, to `end`.
fn collect(console: &Console, position: &mut u64, end: u64) -> Result<Vec<u8>, Failure> {
    let mut collected = Vec::new();
    while *position < end {
        let piece = console.recorded(*position);
        match piece.map_err(|error| Failure::internal(format!("the console's log cannot be read: {error}")))? {
            Piece::Skip(next) => *position = next,
            Piece::Bytes(bytes) if bytes.is_empty() => break,
            Piece::Bytes(bytes) => {
                *position += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                collected.extend_from_slice(&bytes);
            }
        }
    }
    Ok(collected)
}

/// Takes in what the log has gained; what cannot be read now is shown when it can.
fn look(console: &Console) {
    if let Err(error) = console.read_log() {
        debug!(%error, "the console's log cannot be read");
    }
}
