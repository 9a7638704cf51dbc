//! Failpoints: named places between two effects at which a test makes a daemon fail or die.
//!
//! A point costs nothing in a release: there [`point`] is an empty function that cannot fail. In a debug build it looks into
//! the directory given to [`watch`] (`<run>/failpoints`, made by a test):
//!
//! - a file of the point's name holding `error` makes the point answer [`Injected`], `kill` ends the process as `kill -9`
//!   would. The file is renamed to `<name>.fired` first, so it acts once, in one process, and the test sees that it did.
//!   `error 3` and `kill 3` act the third time that the point is passed.
//! - as long as a file `trace` is there, every point passed adds its name to it as a line. A test that ran an operation
//!   once with a trace knows every step of it and needs no list of its own.
//!
//! Deliberately not here: delays (a test freezes the process instead) and chances (whoever wants randomness writes the files
//! at random).
//!
//! **Invariant**: without the directory a point changes nothing, in any build.

#[cfg(debug_assertions)]
mod armed;

/// What a point answers when a test wants it to fail.
#[derive(Clone, Debug, thiserror::Error)]
#[error("failpoint {0}")]
pub struct Injected(&'static str);

impl From<Injected> for std::io::Error {
    fn from(injected: Injected) -> Self {
        Self::other(injected)
    }
}

/// As what stands there in its place: a peer or a disk that fails just now.
impl From<Injected> for acp_base::Failure {
    fn from(injected: Injected) -> Self {
        Self::unavailable(injected.to_string())
    }
}

/// The directory to look into. The first call counts; a release ignores it.
pub fn watch(dir: std::path::PathBuf) {
    #[cfg(debug_assertions)]
    armed::watch(dir);
    #[cfg(not(debug_assertions))]
    drop(dir);
}

/// Fails or dies here if a test wants it. Names are `<daemon>.<operation>.<what has just been done>`.
#[inline]
pub fn point(name: &'static str) -> Result<(), Injected> {
    #[cfg(debug_assertions)]
    return armed::point(name);
    #[cfg(not(debug_assertions))]
    {
        let _unused = name;
        Ok(())
    }
}
