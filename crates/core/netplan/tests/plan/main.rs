//! Plans against a model of the kernel's links.

mod model;
mod property;
mod scenario;
