//! The supervisor's daemon.

fn main() -> std::process::ExitCode {
    acp_io_daemon::main::<acp_framework::Framework>()
}
