//! Jobs: operations that outlive the call that asked for them and the daemon that performs them.
//!
//! [`Jobs`] keeps each job in a file of its own, so that a daemon that was killed finds what it had begun and resumes or
//! undoes it; it publishes them as objects of kind `job` and answers `acp.jobs`. Deliberately not here: what any job does.
//!
//! **Invariants**: a job is on disk before its beginning is acknowledged and before its end is reported; at most one job
//! works on an object at a time; a job that ended does not change any more.

mod file;
mod handle;
mod registry;
mod routes;

pub use handle::JobHandle;
pub use registry::{Interrupted, Jobs};
pub use routes::routes;
