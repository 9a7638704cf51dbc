//! `acp.framework` on the wire.

use std::{collections::BTreeMap, time::Duration};

use acp_base::{Change, Code, Failure};
use acp_io_daemon::{Call, Router, Sink};
use acp_io_unit::guard;
use acp_wire_api::{
    Empty,
    framework::{
        GetHost, GetUnit, ListReplaced, ListReplacedReply, ListUnits, ListUnitsReply, ReadLog, ReadLogReply,
        RemoveUnit, RemoveUnitReply, RestartFramework, RestartUnit, SignalUnit, SpawnUnit, StartUnit, StopUnit, Unit,
        UnitReply, WatchUnits, WatchUnitsReply,
    },
};
use rustix::process::{Signal, kill_process};
use tokio::sync::oneshot;

use crate::{
    catalog::{OWN_GROUP, UnitName},
    commands::{Command, parse_signal},
    logs::LogReader,
    replaced,
    service::Handle,
    unit::Answer,
};

/// The most lines of one call, as the interface says.
const LINES_MAX: u32 = 10_000;

/// Bytes of lines in one reply: below every peer's bound for a message.
const REPLY_BYTES_MAX: usize = 256 << 10;

/// How often a followed log is looked at: a person sees lines at once.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Every method.
pub(crate) fn router(handle: &Handle) -> Router {
    let mut router = Router::new();
    let own = handle.clone();
    router.once::<ListUnits, _, _>(move |_call| {
        let units = own.snapshot.borrow().to_vec();
        std::future::ready(Ok(ListUnitsReply { units }))
    });
    let own = handle.clone();
    router.once::<GetUnit, _, _>(move |call| {
        std::future::ready(own.unit(&call.request.name).map(|unit| UnitReply { unit }))
    });
    let own = handle.clone();
    router.stream::<WatchUnits, _, _>(move |call, sink| own.clone().watch(call, sink));
    let own = handle.clone();
    router.once::<StartUnit, _, _>(move |call| own.clone().order(call.request.name, Command::Start));
    let own = handle.clone();
    router.once::<StopUnit, _, _>(move |call| own.clone().order(call.request.name, Command::Stop));
    let own = handle.clone();
    router.once::<RestartUnit, _, _>(move |call| own.clone().order(call.request.name, Command::Restart));
    let own = handle.clone();
    router.once::<SpawnUnit, _, _>(move |call| own.clone().spawn(call));
    let own = handle.clone();
    router.once::<RemoveUnit, _, _>(move |call| own.clone().remove(call));
    let own = handle.clone();
    router.once::<SignalUnit, _, _>(move |call| own.clone().signal(call));
    let own = handle.clone();
    router.stream::<ReadLog, _, _>(move |call, sink| own.clone().read_log(call, sink));
    let own = handle.clone();
    router.once::<GetHost, _, _>(move |_call| std::future::ready(Ok(own.site.host())));
    let own = handle.clone();
    router.once::<ListReplaced, _, _>(move |_call| {
        std::future::ready(Ok(ListReplacedReply { processes: replaced::list(&own) }))
    });
    router.once::<RestartFramework, _, _>(move |_call| std::future::ready(restart_framework()));
    router
}

impl Handle {
    fn unit(&self, name: &str) -> Result<Unit, Failure> {
        let name = name.parse::<UnitName>()?.to_string();
        let found = self.snapshot.borrow().iter().find(|unit| unit.name == name).cloned();
        found.ok_or_else(|| Failure::not_found(format!("there is no unit {name}; `acpctl service list` shows all")))
    }

    /// Hands a command to the owner and waits for its answer.
    async fn ask(&self, command: impl FnOnce(Answer) -> Command) -> Result<Option<Unit>, Failure> {
        let (answer, answered) = oneshot::channel();
        let gone = || Failure::unavailable("the framework is stopping");
        self.commands.send(command(answer)).await.map_err(|_unsent| gone())?;
        // What was taken and not answered may have been done.
        answered.await.map_err(|_dropped| gone().changed(Change::Unknown))?
    }

    async fn order(self, name: String, command: fn(UnitName, Answer) -> Command) -> Result<UnitReply, Failure> {
        let name = name.parse()?;
        let unit = self.ask(|answer| command(name, answer)).await?;
        unit.map(|unit| UnitReply { unit }).ok_or_else(|| Failure::internal("an answer without its unit"))
    }

    async fn spawn(self, call: Call<SpawnUnit>) -> Result<UnitReply, Failure> {
        let unit = self.ask(|answer| Command::Spawn(Box::new(call.request), call.fds, call.caller, answer)).await?;
        unit.map(|unit| UnitReply { unit }).ok_or_else(|| Failure::internal("an answer without its unit"))
    }

    async fn remove(self, call: Call<RemoveUnit>) -> Result<RemoveUnitReply, Failure> {
        let name = call.request.name.parse()?;
        let unit = self.ask(|answer| Command::Remove(name, call.caller, answer)).await?;
        Ok(RemoveUnitReply { unit })
    }

    async fn signal(self, call: Call<SignalUnit>) -> Result<Empty, Failure> {
        let (name, signal) = (call.request.name.parse()?, parse_signal(&call.request.signal)?);
        self.ask(|answer| Command::Signal(name, signal, call.caller, answer)).await?;
        Ok(Empty {})
    }

    /// Every unit, then those that changed. Changes that follow each other faster than the caller reads come as one.
    async fn watch(self, call: Call<WatchUnits>, sink: Sink<WatchUnits>) -> Result<WatchUnitsReply, Failure> {
        let mut snapshot = self.snapshot.clone();
        let templates = call.request.templates;
        let mut known: BTreeMap<String, Unit> = BTreeMap::new();
        let mut is_first = true;
        loop {
            let present: Vec<Unit> = snapshot.borrow_and_update().to_vec();
            let wanted =
                present.into_iter().filter(|unit| templates.is_empty() || templates.contains(&unit.meta.template));
            let reply = difference(&mut known, wanted.collect());
            if is_first || !reply.units.is_empty() || !reply.gone.is_empty() {
                sink.send(reply).await?;
            }
            is_first = false;
            snapshot.changed().await.map_err(|_closed| Failure::unavailable("the framework is stopping"))?;
        }
    }

    async fn read_log(self, call: Call<ReadLog>, sink: Sink<ReadLog>) -> Result<ReadLogReply, Failure> {
        let request = call.request;
        if request.lines > LINES_MAX {
            return Err(Failure::invalid(format!("lines: {} is more than {LINES_MAX}", request.lines)));
        }
        let name = request.name.parse::<UnitName>()?.to_string();
        let path = self.site.log(&name);
        if !path.exists() && name != OWN_GROUP {
            self.unit(&name)?;
        }
        let unreadable =
            |error: std::io::Error| Failure::new(Code::Internal, format!("the log of {name} cannot be read: {error}"));
        let count = usize::try_from(request.lines).unwrap_or(usize::MAX);
        let (lines, mut reader) = LogReader::open(&path, count).map_err(unreadable)?;
        let mut batches = batches(lines);
        let last = batches.pop().unwrap_or_default();
        for lines in batches {
            sink.send(ReadLogReply { lines }).await?;
        }
        if !request.follow {
            return Ok(ReadLogReply { lines: last });
        }
        sink.send(ReadLogReply { lines: last }).await?;
        loop {
            let lines = reader.next().map_err(unreadable)?;
            if lines.is_empty() {
                tokio::time::sleep(FOLLOW_INTERVAL).await;
            } else {
                sink.send(ReadLogReply { lines }).await?;
            }
        }
    }
}

/// Asks the guard to start itself and this process anew.
fn restart_framework() -> Result<Empty, Failure> {
    let guard = guard::of_this_process().ok_or_else(|| {
        Failure::precondition(
            "this framework runs without a guard: start it again as it was started; it adopts its units",
        )
    })?;
    tracing::info!("the guard is asked to start the framework anew");
    kill_process(guard, Signal::HUP)
        .map_err(|error| Failure::internal(format!("the guard cannot be asked: {error}")))?;
    Ok(Empty {})
}

/// What changed between what a watcher knows and what is; the watcher knows it then. Measurements alone are no change.
fn difference(known: &mut BTreeMap<String, Unit>, present: Vec<Unit>) -> WatchUnitsReply {
    let mut before = std::mem::take(known);
    let mut reply = WatchUnitsReply { units: Vec::new(), gone: Vec::new() };
    for unit in present {
        let is_known = before.remove(&unit.name).is_some_and(|old| old.uid == unit.uid && old.meta == unit.meta);
        known.insert(unit.name.clone(), unit.clone());
        if !is_known {
            reply.units.push(unit);
        }
    }
    reply.gone = before.into_keys().collect();
    reply
}

/// Lines in portions that fit into a reply.
fn batches(lines: Vec<String>) -> Vec<Vec<String>> {
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut bytes = REPLY_BYTES_MAX;
    for line in lines {
        bytes = bytes.saturating_add(line.len());
        if bytes > REPLY_BYTES_MAX {
            batches.push(Vec::new());
            bytes = line.len();
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(line);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_into_replies_that_fit() {
        assert!(batches(Vec::new()).is_empty());
        let lines: Vec<String> = (0..100).map(|number| format!("{number:0>10000}")).collect();
        let split = batches(lines.clone());
        assert!(split.len() > 1);
        for batch in &split {
            assert!(!batch.is_empty() && batch.iter().map(String::len).sum::<usize>() <= REPLY_BYTES_MAX);
        }
        assert_eq!(split.concat(), lines);
    }
}
