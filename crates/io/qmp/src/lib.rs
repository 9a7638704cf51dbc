//! A client of QMP, QEMU's machine protocol, over one Unix socket.
//!
//! Deliberately not here: what a command or an event means (see `acp-vmm`), which socket to connect to, when to connect
//! again. A connection that failed stays failed; its owner opens another.
//!
//! **Invariants**: bytes from the peer never panic and never grow memory beyond [`MESSAGE_BYTES_MAX`]; every command that
//! was sent is answered, timed out or closed, exactly once; unknown events, fields and messages are no error.
//!
//! Driven by its user: [`connect`] hands out a [`Driver`] whose `run` must be polled by a task for anything to happen.

mod client;
mod codec;
mod connect;
mod driver;
mod error;

pub use client::{Client, Events, Occurrence};
pub use codec::{Decoder, Event, Greeting, MESSAGE_BYTES_MAX, Message};
pub use connect::{Session, connect};
pub use driver::Driver;
pub use error::{CloseReason, ConnectError, DecodeError, ErrorClass, ExecuteError};
