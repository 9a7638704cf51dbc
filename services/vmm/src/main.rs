//! The machine monitor of one system; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    acp_io_daemon::main::<acp_vmm::Vmm>()
}
