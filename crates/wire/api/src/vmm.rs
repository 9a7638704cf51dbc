//! `acp.vmm`: one system's machine monitor.

use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::Empty;

interface! {
    /// One system's machine monitor: drives its QEMU and keeps its console.
    "acp.vmm";
    /// Answers the machine's state now and after each change.
    Stream Watch(Empty) -> MachineStatus, Read, ["hypervisor"];
    /// Lets the processors run.
    Once Resume(Empty) -> MachineStatus, Internal, ["hypervisor"];
    /// Presses the power button (ACPI).
    Once Powerdown(Empty) -> Empty, Internal, ["hypervisor"];
    /// Presses the reset button.
    Once Reset(Empty) -> Empty, Internal, ["hypervisor"];
    /// Says until when the machine may run: its lease was renewed. Before the first call a machine runs without a lease; after
    /// it, the processors are stopped and QEMU is killed at the instants given, whatever else happens, unless a newer call moves
    /// them. An older term than known is refused.
    Once ExtendLease(ExtendLeaseRequest) -> MachineStatus, Internal, ["hypervisor"];
    /// Ends QEMU at once.
    Once Quit(Empty) -> Empty, Internal, ["hypervisor"];
    /// Turns the connection into the serial console: what the ring holds first, then what comes. Several may be attached;
    /// all may type.
    Upgrade AttachConsole(AttachConsoleRequest) -> AttachConsoleReply, Operate, ["hypervisor"];
    /// Answers the end of the console's log, then new output if asked to follow.
    Stream ReadConsole(ReadConsoleRequest) -> ReadConsoleReply, Read, ["hypervisor"];
}

/// What QEMU's run state amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum MachineState {
    /// QMP does not answer yet.
    Connecting,
    /// QMP answers, the processors have not been let run.
    Prelaunch,
    /// The processors run.
    Running,
    /// The processors stand still.
    Paused,
    /// The guest powered off or QEMU was told to quit; its process is about to end.
    Shutdown,
    /// The connection to QEMU is gone: its process has ended or is about to.
    Gone,
}

/// See [`Watch`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct MachineStatus {
    /// Where the machine stands.
    pub state: MachineState,
    /// QEMU's own word for its run state; empty when it is not known.
    #[serde(default)]
    pub run_state: String,
    /// Whether the guest itself asked for the shutdown.
    #[serde(default)]
    pub guest_shutdown: bool,
    /// What the last problem was, in a sentence; empty when there was none.
    #[serde(default)]
    pub reason: String,
    /// Readers attached to the console.
    pub console_readers: u32,
}

/// See [`ExtendLease`]. Instants are of CLOCK_BOOTTIME, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ExtendLeaseRequest {
    /// The lease's term.
    pub term: u64,
    /// When the processors are stopped.
    pub pause_at_ms: u64,
    /// When QEMU is killed.
    pub kill_at_ms: u64,
}

/// See [`AttachConsole`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct AttachConsoleRequest {
    /// How many of the ring's last bytes come first; absent: all it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_bytes: Option<u32>,
    /// Continues after this position of an earlier connection instead, as far as the ring still holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
}

/// See [`AttachConsole`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct AttachConsoleReply {
    /// Position in the console's output of the first byte that follows; counts every byte since the guest was started.
    pub position: u64,
    /// Bytes between the position asked for and this one that the ring no longer holds.
    pub lost_bytes: u64,
}

/// See [`ReadConsole`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ReadConsoleRequest {
    /// How many of the last bytes; at most 1 MiB.
    pub bytes: u32,
    /// Goes on with new output.
    #[serde(default)]
    pub follow: bool,
}

/// See [`ReadConsole`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ReadConsoleReply {
    /// Output; bytes that are no UTF-8 are replaced.
    pub text: String,
}
