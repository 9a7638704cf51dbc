//! What a thread needs to be a hostile user.

use std::thread;

use anyhow::{Result, anyhow};
use rustix::{
    process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

/// The group that may open the sockets.
const GROUP: u32 = 61_000;

/// Runs the work on a thread of its own that is this user, a member of the group and nothing else. User 0 stays root.
pub(super) fn run_as<T: Send>(uid: u32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let worker = || {
        if uid != 0 {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(GROUP));
            set_thread_groups(&[])?;
            set_thread_res_gid(group, group, group)?;
            set_thread_res_uid(user, user, user)?;
        }
        work()
    };
    thread::scope(|scope| scope.spawn(worker).join().map_err(|_panic| anyhow!("the work of user {uid} panicked"))?)
}

/// Thousands of connections take as many descriptors.
pub(super) fn raise_descriptor_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
