//! What one node does with what it is told, case by case.

mod fetching;
mod format;
mod harness;
mod publishing;
mod receiving;
mod repairing;
