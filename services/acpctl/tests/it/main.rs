//! The program itself, called as an operator calls it, with fake daemons behind the sockets.

mod cluster;
mod console;
mod elsewhere;
mod errors;
mod events;
mod jobs;
mod node;
mod results;
