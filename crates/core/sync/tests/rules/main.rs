//! What one node does with what it is told, case by case.

mod domains;
mod fetching;
mod format;
mod harness;
mod memory;
mod publishing;
mod receiving;
mod repairing;
mod surviving;
