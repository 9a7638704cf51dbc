//! Agents and a hub that talk over the loopback, each agent on a runtime of its own, so that it can be killed.

mod calls;
mod controllers;
mod database;
mod door;
mod failures;
mod hub;
mod keys;
mod limits;
mod membership;
mod relay;
mod renewal;
mod requests;
mod steps;
mod world;
