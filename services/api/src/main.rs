//! The HTTP API of a node; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    acp_io_daemon::main::<acp_api::Api>()
}
