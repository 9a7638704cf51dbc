//! The database as its driver sees it: entries and publications in, objects and events out.

mod allocation;
mod cluster;
mod fuzz;
mod golden;
mod heard;
mod history;
mod leases;
mod log;
mod own;
mod random;
mod random_cluster;
mod rules;
mod slots;
mod verdicts;
mod watch;
mod world;
