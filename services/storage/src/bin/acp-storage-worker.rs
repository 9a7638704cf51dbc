//! The process of one pool.

fn main() -> std::process::ExitCode {
    acp_io_daemon::main::<acp_storage::worker::StorageWorker>()
}
