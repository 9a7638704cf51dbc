//! What happened, for whoever has to understand a failure, and the sums of it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::Mutex,
    time::{Duration, Instant},
};

/// How many of the last events are kept: some minutes of them at the usual pace.
const EVENTS_MAX: usize = 120;
/// How many of the times of one kind are kept: more than a day of soaking makes.
const TIMES_MAX: usize = 100_000;

/// Times and ends of one kind of operation or fault.
#[derive(Debug, Default)]
struct Sum {
    times: Vec<Duration>,
    ends: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Pages {
    events: VecDeque<String>,
    operations: BTreeMap<String, Sum>,
    faults: BTreeMap<String, Sum>,
    defects: Vec<String>,
}

/// The record of one soak.
#[derive(Debug)]
pub(super) struct Journal {
    began: Instant,
    pages: Mutex<Pages>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), pages: Mutex::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Pages) -> T) -> T {
        work(&mut self.pages.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// How long it has lasted.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Adds a line to the time line.
    pub(super) fn note(&self, text: &str) {
        let line = format!("{:8.2} s  {text}", self.elapsed().as_secs_f64());
        self.with(|pages| {
            pages.events.push_back(line);
            if pages.events.len() > EVENTS_MAX {
                pages.events.pop_front();
            }
        });
    }

    /// Counts an operation of a client.
    pub(super) fn operation(&self, kind: &str, end: &str, took: Duration) {
        self.with(|pages| pages.operations.entry(kind.to_owned()).or_default().add(end, took));
    }

    /// Counts a fault and the time until the node was whole again.
    pub(super) fn fault(&self, kind: &str, took: Duration) {
        self.with(|pages| pages.faults.entry(kind.to_owned()).or_default().add("", took));
    }

    /// Something that must not be.
    pub(super) fn defect(&self, text: String) {
        self.note(&format!("DEFECT: {text}"));
        self.with(|pages| pages.defects.push(text));
    }

    /// Everything found that must not be, if anything was.
    pub(super) fn defects(&self) -> Option<String> {
        self.with(|pages| (!pages.defects.is_empty()).then(|| pages.defects.join("\n    ")))
    }

    /// Operations that have ended.
    pub(super) fn operations(&self) -> u64 {
        self.with(|pages| pages.operations.values().map(Sum::count).sum())
    }

    /// Faults so far.
    pub(super) fn faults(&self) -> u64 {
        self.with(|pages| pages.faults.values().map(Sum::count).sum())
    }

    /// The last events.
    pub(super) fn time_line(&self) -> String {
        self.with(|pages| pages.events.iter().map(|line| format!("\n    {line}")).collect())
    }

    /// Both tables.
    pub(super) fn tables(&self) -> String {
        self.with(|pages| {
            let head = |first: &str| format!("{first:<28} {:>6} {:>9} {:>9}  \n", "count", "median", "longest");
            let mut text = head("operation");
            pages.operations.iter().for_each(|(kind, sum)| sum.row(kind, &mut text));
            text.push_str(&head("\nfault, until whole again"));
            pages.faults.iter().for_each(|(kind, sum)| sum.row(kind, &mut text));
            text
        })
    }
}

impl Sum {
    fn add(&mut self, end: &str, took: Duration) {
        if self.times.len() < TIMES_MAX {
            self.times.push(took);
        }
        *self.ends.entry(end.to_owned()).or_default() += 1;
    }

    fn count(&self) -> u64 {
        self.ends.values().sum()
    }

    fn row(&self, kind: &str, into: &mut String) {
        let mut times = self.times.clone();
        times.sort_unstable();
        let seconds = |at: Option<&Duration>| at.copied().unwrap_or_default().as_secs_f64();
        let (middle, longest) = (seconds(times.get(times.len() / 2)), seconds(times.last()));
        let ends = self.ends.iter().filter(|(end, _)| !end.is_empty()).map(|(end, count)| format!("{end} {count}"));
        let ends = ends.collect::<Vec<_>>().join(", ");
        writeln!(into, "{kind:<28} {:>6} {middle:>7.2} s {longest:>7.2} s  {ends}", self.count())
            .expect("a text takes what is written to it");
    }
}
