//! The one place where xtask writes to the terminal: steps with a mark and their time.

use std::{
    fmt::Display,
    io::{IsTerminal, Write, stderr, stdout},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;

/// Whether standard output belongs to a program's result and everything else goes to standard error output.
static TO_STANDARD_ERROR: AtomicBool = AtomicBool::new(false);

/// From now on everything is printed to standard error output.
pub(crate) fn to_standard_error() {
    TO_STANDARD_ERROR.store(true, Ordering::Relaxed);
}

/// Prints one line.
pub(crate) fn line(text: impl Display) {
    print(format_args!("{text}\n"));
}

fn print(text: std::fmt::Arguments<'_>) {
    let mut output: Box<dyn Write> =
        if TO_STANDARD_ERROR.load(Ordering::Relaxed) { Box::new(stderr()) } else { Box::new(stdout()) };
    // A closed standard output (`cargo xtask up | head`) must not stop the work itself.
    drop(output.write_fmt(text).and_then(|()| output.flush()));
}

/// Runs one step and prints how it ended, with what it noted and the time it took.
pub(crate) fn step<T>(name: &str, work: impl FnOnce(&mut String) -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let terminal = stdout().is_terminal();
    if terminal {
        print(format_args!("▸ {name} "));
    }
    let mut note = String::new();
    let result = work(&mut note);
    if terminal {
        print(format_args!("\r\x1b[K"));
    }
    let mark = if result.is_ok() { '✓' } else { '✗' };
    let note = if note.is_empty() { note } else { format!(": {note}") };
    line(format_args!("{mark} {name}{note} ({})", seconds(started.elapsed())));
    result
}

/// Like [`step`], for work that prints lines of its own: the name comes first, on its own line.
pub(crate) fn noisy_step<T>(name: &str, work: impl FnOnce(&mut String) -> Result<T>) -> Result<T> {
    let started = Instant::now();
    line(format_args!("▸ {name}"));
    let mut note = String::new();
    let result = work(&mut note);
    let mark = if result.is_ok() { '✓' } else { '✗' };
    let note = if note.is_empty() { note } else { format!(": {note}") };
    line(format_args!("{mark} {name}{note} ({})", seconds(started.elapsed())));
    result
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    let total = duration.as_secs_f64();
    if total < 60.0 {
        format!("{total:.1} s")
    } else {
        format!("{} min {:.0} s", duration.as_secs() / 60, total % 60.0)
    }
}
