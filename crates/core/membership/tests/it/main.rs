//! The membership from outside: what each command does, and what holds after any of them.

mod decisions;
mod limits;
mod metadata;
mod model;
mod property;
mod requests;
mod roles;
mod voters;
