//! The agent's daemon.

fn main() -> std::process::ExitCode {
    acp_io_pki::install_provider();
    acp_io_daemon::main::<acp_agent::Agent>()
}
