//! Who is a member of the cluster; see the library.

fn main() -> std::process::ExitCode {
    acp_io_daemon::main::<acp_hub::Hub>()
}
