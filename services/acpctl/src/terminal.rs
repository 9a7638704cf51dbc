//! Raw mode, and the way back from it.
//!
//! **Invariant**: however the program ends, short of being killed outright, the terminal is as it was: the guard restores it
//! when it is dropped, and a panic, which may end the process without dropping anything, restores it first.

use std::{
    io,
    sync::{Mutex, Once, PoisonError},
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// How the terminal was before.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The standard input's terminal in raw mode until this is dropped.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Puts the terminal into raw mode.
    pub(crate) fn enter() -> io::Result<Self> {
        restore_on_panic();
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let restored = before.map_or(Ok(()), |before| tcsetattr(io::stdin(), OptionalActions::Drain, &before));
    if let Err(error) = restored {
        crate::error::say(&format!("the terminal could not be restored ({error}): type reset"));
    }
}

fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            report(info);
        }));
    });
}
