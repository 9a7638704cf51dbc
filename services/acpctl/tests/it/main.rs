//! The program itself, called as an operator calls it, with fake daemons behind the sockets.

mod console;
mod errors;
mod jobs;
mod node;
mod results;
