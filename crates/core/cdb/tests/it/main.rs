//! The database as its driver sees it: entries and publications in, objects and events out.

mod allocation;
mod fuzz;
mod log;
mod random;
mod rules;
mod slots;
mod watch;
mod world;
