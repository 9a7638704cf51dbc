//! F1: from kill -9 of a daemon until it does its work again, while a system runs.
//!
//! Each round ends every daemon once, one after the other. Rounds are a pause apart after which both the framework and its
//! guard hold a unit for recovered: what is measured is a daemon that dies now and then, not one that cannot live.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use acp_dev_testkit::{subject::Subject, wait_for};
use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::{
    Setup,
    figure::{Figure, Report, millis, percentile},
    node,
};

/// The promise for every daemon, in milliseconds.
const LIMIT: f64 = 1_000.0;
/// The share of kills for which it holds.
const SHARE: f64 = 0.95;
/// Kills of each daemon.
const KILLS: usize = 20;
/// From one kill of a daemon to the next: a unit that was ready, and a framework that ran, for 10 s has recovered.
const ROUND: Duration = Duration::from_secs(11);
/// One that is away for longer has not come back.
const BACK_LIMIT: Duration = Duration::from_secs(30);

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let node = node(&setup.bin)?;
    node.run(&["pool", "create", "default"])?;
    node.run(&["network", "create", "default", "--address", "10.77.0.1/24"])?;
    node.run(&["image", "import", "demo", setup.image()?, "--wait"])?;
    node.run(&["system", "create", "demo", "--image", "demo", "--network", "default", "--wait"])?;
    node.run(&["system", "start", "demo", "--wait"])?;
    let subject = Subject::of(&node, "demo")?;
    subject.ask_for_volume()?;
    let mut units = subject.daemons();
    units.push("framework".to_owned());
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _kill in 0..KILLS {
        let round = Instant::now();
        for unit in &units {
            let daemon = unit.split('@').next().unwrap_or_default();
            times.entry(daemon).or_default().push(millis(kill(&subject, unit)?));
        }
        wait_for("the next round", ROUND, || if round.elapsed() >= ROUND { Ok(()) } else { Err("it is early") })?;
    }
    ensure!(subject.qemu.is_alive(), "the guest died with its daemons");
    let figure = |(daemon, times): (&str, &mut Vec<f64>)| {
        Figure::at_most(&format!("{daemon}, killed to working, p95"), percentile(times, SHARE), LIMIT, "ms")
    };
    let figures = times.iter_mut().map(|(daemon, times)| figure((daemon, times))).collect();
    Ok(Report { bench: "recover", figures })
}

fn kill(subject: &Subject<'_>, unit: &str) -> Result<Duration> {
    let before = subject.process(unit)?;
    let at = Instant::now();
    before.signal(Signal::KILL)?;
    wait_for(&format!("{unit} to do its work again"), BACK_LIMIT, || {
        subject.works(unit, before).map_err(|error| format!("{error:#}"))
    })?;
    Ok(at.elapsed())
}
