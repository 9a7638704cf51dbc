//! One operation, broken at each of its steps.

use std::{
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{
    node::{self, Said},
    varlink, wait_for,
};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{
    arm::{Failpoints, Mode},
    inventory::Inventory,
    operations::{self, Operation},
};
use crate::world::World;

/// How long an operation may take with a fault in it. Cleaning up is tried again after 1, 2 and 10 s.
const OPERATION_LIMIT: Duration = Duration::from_secs(60);
/// How long the node may take from the operation's answer until nothing changes any more.
const SETTLE_LIMIT: Duration = Duration::from_secs(45);
/// How long an inventory must stay before it is believed: work that nobody waits for could still be going on.
const STABLE: Duration = Duration::from_millis(300);
/// How long a point may take to act after the operation's answer: an outdated DHCP server is replaced within 2 s.
const FIRE_LIMIT: Duration = Duration::from_secs(5);
/// The longest sentence for people.
const SENTENCE_CHARS_MAX: usize = 600;

/// One cell of an operation's grid: a point, how it acts, and at which of its passings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault<'a> {
    pub(crate) point: &'a str,
    /// The position of the point in the operation's trace.
    pub(crate) index: usize,
    pub(crate) mode: Mode,
    pub(crate) pass: usize,
    /// How often the point was passed without a fault.
    pub(crate) passes: usize,
}

/// Breaks an operation at every fault that is wanted; answers how many acted, and what went wrong.
pub(super) fn run(
    world: &World,
    points: &Failpoints,
    operation: &Operation,
    is_wanted: &dyn Fn(&Fault<'_>) -> bool,
) -> Result<(usize, Vec<String>)> {
    let bench = Bench::set_up(world, points, operation)?;
    let traced = bench.trace().inspect_err(|_error| drop(bench.clear()))?;
    let (mut acted, mut wrong) = (0, Vec::new());
    for (index, (point, passes)) in traced.iter().enumerate() {
        for mode in [Mode::Error, Mode::Kill] {
            for pass in 1..=*passes {
                let fault = Fault { point, index, mode, pass, passes: *passes };
                if !is_wanted(&fault) {
                    continue;
                }
                match bench.break_at(&fault) {
                    Ok(did_act) => acted += usize::from(did_act),
                    Err(error) => {
                        wrong.push(format!("{}, {mode:?} at passing {pass} of {point}: {error:#}", operation.name));
                        bench.recover().with_context(|| wrong.join("\n    "))?;
                    }
                }
            }
        }
    }
    bench.clean()?;
    Ok((acted, wrong))
}

/// An operation with the node before and after it.
struct Bench<'a> {
    world: &'a World,
    points: &'a Failpoints,
    operation: &'a Operation,
    file: String,
    base: Inventory,
    before: Inventory,
    after: Inventory,
}

impl<'a> Bench<'a> {
    fn set_up(world: &'a World, points: &'a Failpoints, operation: &'a Operation) -> Result<Self> {
        let file = operations::file(world)?;
        let base = stable(world)?;
        all(world, operation.prepare, &file)?;
        let before = stable(world)?;
        world.node.run(&operations::words(operation.run, &file))?;
        let after = stable(world)?;
        let bench = Self { world, points, operation, file, base, before, after };
        ensure!(bench.before != bench.after, "it changes nothing that is seen");
        bench.go_back().inspect_err(|_error| drop(bench.clear()))?;
        Ok(bench)
    }

    /// The points that the operation passes each time. What is passed once only belongs to something else, like the DHCP
    /// server that is replaced some time after a system was deleted.
    fn trace(&self) -> Result<Vec<(String, usize)>> {
        let (first, second) = (self.trace_once()?, self.trace_once()?);
        let both = first.into_iter().filter_map(|(point, count)| {
            let again = second.iter().find(|(other, _count)| *other == point)?.1;
            Some((point, count.min(again)))
        });
        Ok(both.collect())
    }

    fn trace_once(&self) -> Result<Vec<(String, usize)>> {
        self.points.trace()?;
        let done = self.run_again();
        let traced = self.points.traced()?;
        done?;
        for landmark in self.operation.landmarks {
            let is_passed = traced.iter().any(|(point, _count)| point == landmark);
            ensure!(is_passed, "{}: {landmark} is not passed: {traced:?}", self.operation.name);
        }
        self.go_back()?;
        Ok(traced)
    }

    /// Runs the operation with a fault, and again if it was undone; answers whether the fault acted.
    fn break_at(&self, fault: &Fault<'_>) -> Result<bool> {
        self.points.arm(fault.point, fault.mode, fault.pass)?;
        let said = self.run_broken()?;
        let has_fired = self.wait_fired(fault.point);
        self.points.disarm(fault.point)?;
        check_sentence(&said)?;
        let is_done = self.outcome(&said)?;
        if !is_done {
            self.run_again().context("repeating it")?;
        }
        self.go_back()?;
        if !has_fired {
            // Passed by something else meanwhile, or less often than before; never so the first time.
            let (passed, counts) = (self.trace_once()?, |(point, _count): &&(String, usize)| point == fault.point);
            let now = passed.iter().find(counts).map_or(0, |(_point, count)| *count);
            ensure!(now < fault.pass || fault.pass > 1, "it did not act");
        }
        Ok(has_fired)
    }

    /// Runs the operation while daemons in the pause before their restart are started at once, as an operator would: a
    /// daemon that is killed every other second is rightly thought to be broken.
    fn run_broken(&self) -> Result<Said> {
        let words = operations::words(self.operation.run, &self.file);
        thread::scope(|scope| {
            let running = scope.spawn(|| self.world.node.acpctl(&words));
            let ended = wait_for(&format!("the end of: {}", words.join(" ")), OPERATION_LIMIT, || {
                revive(self.world);
                if running.is_finished() { Ok(()) } else { Err("it goes on") }
            });
            let said = running.join().map_err(|_panic| anyhow::anyhow!("the command panicked"))?;
            ended?;
            said
        })
    }

    fn wait_fired(&self, point: &str) -> bool {
        let has_fired = || if self.points.has_fired(point) { Ok(()) } else { Err("it was not passed") };
        wait_for(point, FIRE_LIMIT, has_fired).is_ok()
    }

    /// Waits until the node is as if the operation had never been, or as it is after it; answers which. What was said to
    /// be done is done.
    fn outcome(&self, said: &Said) -> Result<bool> {
        let mut since: Option<(bool, Instant)> = None;
        let what = format!("everything or nothing after {:?}", said.stderr);
        wait_for(&what, SETTLE_LIMIT, || {
            revive(self.world);
            let now = Inventory::take(self.world).map_err(|error| format!("{error:#}"))?;
            let is_done = now == self.after;
            if !is_done && (now != self.before || said.status == 0) {
                since = None;
                return Err(now.difference(if said.status == 0 { &self.after } else { &self.before }));
            }
            match since.filter(|(was_done, _instant)| *was_done == is_done) {
                Some((_same, instant)) if instant.elapsed() >= STABLE => Ok(is_done),
                Some(_not_yet) => Err("it may still change".to_owned()),
                None => {
                    since = Some((is_done, Instant::now()));
                    Err("it may still change".to_owned())
                }
            }
        })
    }

    fn run_again(&self) -> Result<()> {
        self.world.node.run(&operations::words(self.operation.run, &self.file))?;
        same(self.world, &self.after)
    }

    fn go_back(&self) -> Result<()> {
        all(self.world, self.operation.undo, &self.file)?;
        same(self.world, &self.before).context("after it was taken back")
    }

    fn clean(&self) -> Result<()> {
        all(self.world, self.operation.clean, &self.file)?;
        same(self.world, &self.base).context("after everything was deleted")
    }

    /// Whatever state a failed cell left: everything that can be deleted is, and what is needed is made again.
    fn recover(&self) -> Result<()> {
        self.clear().context("a node that cannot be tested further")?;
        all(self.world, self.operation.prepare, &self.file)?;
        same(self.world, &self.before)
    }

    fn clear(&self) -> Result<()> {
        node::wait_ready(self.world.node.layout())?;
        for command in self.operation.undo.iter().chain(self.operation.clean) {
            drop(self.world.node.acpctl(&operations::words(command, &self.file))?);
        }
        same(self.world, &self.base)
    }
}

/// A command that failed says why, in a sentence, with a status that means something.
fn check_sentence(said: &Said) -> Result<()> {
    let Said { status, stdout: _, stderr } = said;
    if *status == 0 {
        return Ok(());
    }
    ensure!(matches!(status, 2..=8 | 74 | 75), "it ended with {status}: {stderr}");
    let is_sentence = stderr.starts_with("error: ")
        && stderr.trim_end().lines().count() == 1
        && stderr.chars().count() <= SENTENCE_CHARS_MAX
        && !["panicked", "Injected", "{", "Some("].iter().any(|word| stderr.contains(word));
    ensure!(is_sentence, "that is no sentence: {stderr:?}");
    Ok(())
}

/// Runs commands one after the other, which have to succeed.
pub(super) fn all(world: &World, commands: &[&[&str]], file: &str) -> Result<()> {
    commands.iter().try_for_each(|command| world.node.run(&operations::words(command, file)).map(drop))
}

fn same(world: &World, wanted: &Inventory) -> Result<()> {
    wait_for("the node to be as it was", SETTLE_LIMIT, || {
        revive(world);
        let now = Inventory::take(world).map_err(|error| format!("{error:#}"))?;
        if now == *wanted { Ok(()) } else { Err(now.difference(wanted)) }
    })
}

/// The inventory, once it stays the same.
fn stable(world: &World) -> Result<Inventory> {
    let mut last: Option<(Inventory, Instant)> = None;
    wait_for("the node to be at rest", SETTLE_LIMIT, || {
        let now = Inventory::take(world).map_err(|error| format!("{error:#}"))?;
        match &last {
            Some((before, since)) if *before == now && since.elapsed() >= STABLE => return Ok(now),
            Some((before, _since)) if *before == now => return Err("it may still change".to_owned()),
            _changed => {}
        }
        let seen = last.as_ref().map_or_else(String::new, |(before, _since)| now.difference(before));
        last = Some((now, Instant::now()));
        Err(seen)
    })
}

/// Starts every unit that waits for its restart or was given up. The framework itself may be away at the moment.
fn revive(world: &World) {
    let units = world.units().unwrap_or_default();
    for unit in units.iter().filter(|unit| matches!(unit["meta"]["state"].as_str(), Some("backoff" | "failed"))) {
        let is_guest = unit["name"].as_str().is_some_and(|name| name.starts_with("qemu@") || name.starts_with("vmm@"));
        if !is_guest {
            let start = varlink::call(
                &world.node.socket("framework"),
                "acp.framework.StartUnit",
                json!({ "name": unit["name"] }),
            );
            drop(start);
        }
    }
}
