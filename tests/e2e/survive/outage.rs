//! Units that are ended or stopped from outside, and when they do their work again: what several lines ask for.

use std::time::Duration;

use acp_dev_testkit::{process::Identity, wait_for};
use anyhow::Result;
use rustix::process::Signal;
use serde_json::{Value, json};

pub(super) use acp_dev_testkit::subject::Subject;

pub(super) use super::stopwatch::Stopwatch;

use crate::world::{LIMIT, World};

/// How long a killed daemon may be away.
pub(super) const BACK_LIMIT: Duration = Duration::from_secs(2);
/// How long the state and the reason of what ended may be wrong.
pub(super) const TOLD_LIMIT: Duration = Duration::from_secs(1);

/// A unit as the framework has it: `state`, `reason`, `pid`, `restarts`, `exit`.
pub(super) fn unit(world: &World, name: &str) -> Result<Value> {
    let mut reply = world.call("framework", "acp.framework.GetUnit", json!({ "name": name }))?;
    Ok(reply["unit"]["meta"].take())
}

/// Makes a system and lets it run, without waiting for its guest.
pub(super) fn started<'a>(world: &'a World, name: &'static str) -> Result<Subject<'a>> {
    world.create(name)?;
    world.start_system(name)?;
    Subject::of(&world.node, name)
}

/// Sends the same signal to all of them; answers when.
pub(super) fn signal_all(victims: &[Identity], signal: Signal) -> Result<Stopwatch> {
    let at = Stopwatch::start();
    victims.iter().try_for_each(|victim| victim.signal(signal))?;
    Ok(at)
}

/// Ends a unit by force and answers how long it was away: until another process of it does its work.
pub(super) fn kill(subject: &Subject<'_>, unit: &str) -> Result<Duration> {
    let killed = subject.process(unit)?;
    let at = signal_all(&[killed], Signal::KILL)?;
    wait_works(subject, unit, killed, LIMIT)?;
    Ok(at.elapsed())
}

/// Waits until another process than `before` does the unit's work.
pub(super) fn wait_works(subject: &Subject<'_>, unit: &str, before: Identity, limit: Duration) -> Result<()> {
    wait_for(&format!("{unit} to do its work again"), limit, || {
        subject.works(unit, before).map_err(|error| format!("{error:#}"))
    })
}
