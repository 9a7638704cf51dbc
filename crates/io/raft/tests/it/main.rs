//! Groups in one process: real logs on disk, and a transport between them that loses, delays and cuts.

#[path = "../../../store/tests/it/disk.rs"]
#[expect(dead_code, reason = "the store's own tests use all of it")]
mod disk;
mod durable;
mod faults;
mod group;
mod hostile;
mod members;
mod network;
#[path = "../../../store/tests/it/vfs.rs"]
mod vfs;
