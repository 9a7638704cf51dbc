//! Somebody who reads the guest's page all the time.

use std::{
    net::IpAddr,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::world::World;

/// The pause between two visits: a guest under emulation answers in milliseconds, and the node is to be measured.
const PAUSE: Duration = Duration::from_millis(50);

/// What the visitor found.
#[derive(Debug, Default)]
pub(super) struct Visits {
    pub(super) count: u32,
    pub(super) slowest: Duration,
    pub(super) failures: Vec<String>,
}

/// Does the work while the page is read; answers what came of both.
pub(super) fn visiting<T>(world: &World, address: IpAddr, work: impl FnOnce() -> Result<T>) -> Result<(T, Visits)> {
    thread::scope(|scope| {
        let (go_home, end) = channel();
        let visitor = scope.spawn(move || visit(world, address, &end));
        let result = work();
        drop(go_home);
        let visits = visitor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ensure!(visits.count > 0, "nobody read a page");
        Ok((result?, visits))
    })
}

fn visit(world: &World, address: IpAddr, end: &Receiver<()>) -> Visits {
    let mut visits = Visits::default();
    while end.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        let started = Instant::now();
        match world.page(address) {
            Ok(page) if page.contains("<h1>") => visits.count += 1,
            Ok(other) => visits.failures.push(other),
            Err(error) => visits.failures.push(format!("{error:#}")),
        }
        visits.slowest = visits.slowest.max(started.elapsed());
    }
    visits
}
