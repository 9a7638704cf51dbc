//! What QEMU says, in the words of `acp.vmm`. Pure.

use acp_io_qmp::Event;
use acp_wire_api::vmm::MachineState;
use serde_json::Value;

/// What an answer to `query-status` amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunState {
    pub(crate) state: MachineState,
    pub(crate) word: String,
}

impl RunState {
    /// Reads the answer; a word that this version does not know counts by whether the processors run.
    pub(crate) fn read(answer: &Value) -> Self {
        let word = answer["status"].as_str().unwrap_or_default();
        let state = match word {
            "prelaunch" | "preconfig" | "inmigrate" => MachineState::Prelaunch,
            "shutdown" => MachineState::Shutdown,
            _ if answer["running"] == true => MachineState::Running,
            _ => MachineState::Paused,
        };
        Self { state, word: word.to_owned() }
    }
}

/// What an event means for the machine's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The machine is shutting down.
    Shutdown {
        /// Whether the guest asked for it.
        guest: bool,
        /// The problem behind it, if it is one.
        problem: Option<String>,
    },
    /// The state may have changed: ask.
    Changed {
        /// The problem behind it, if it is one.
        problem: Option<String>,
    },
    /// Nothing, or not known.
    Nothing,
}

impl Notice {
    /// Reads an event.
    pub(crate) fn read(event: &Event) -> Self {
        let text = |key: &str| event.data[key].as_str().unwrap_or("?");
        let problem = match event.name.as_str() {
            "SHUTDOWN" => {
                let problem = (text("reason") == "guest-panic").then(panicked);
                return Self::Shutdown { guest: event.data["guest"] == true, problem };
            }
            "STOP" | "RESUME" | "RESET" | "SUSPEND" | "SUSPEND_DISK" | "WAKEUP" => None,
            "GUEST_PANICKED" | "GUEST_CRASHLOADED" => Some(panicked()),
            "WATCHDOG" => Some(format!("the guest's watchdog expired; action: {}", text("action"))),
            "BLOCK_IO_ERROR" => {
                Some(format!("disk {}: {} failed: {}", text("device"), text("operation"), text("reason")))
            }
            "MEMORY_FAILURE" => Some(format!("the host's memory failed below the guest; action: {}", text("action"))),
            _ => return Self::Nothing,
        };
        Self::Changed { problem }
    }
}

fn panicked() -> String {
    "the guest's kernel panicked".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_run_state_of_qemu_has_a_meaning() {
        let meaning =
            |running: bool, status: &str| RunState::read(&json!({"running": running, "status": status})).state;
        for status in ["prelaunch", "preconfig", "inmigrate"] {
            assert_eq!(meaning(false, status), MachineState::Prelaunch, "{status}");
        }
        for status in [
            "paused",
            "debug",
            "io-error",
            "internal-error",
            "guest-panicked",
            "watchdog",
            "suspended",
            "save-vm",
            "restore-vm",
            "postmigrate",
            "finish-migrate",
            "colo",
            "invented-later",
        ] {
            assert_eq!(meaning(false, status), MachineState::Paused, "{status}");
        }
        assert_eq!(meaning(true, "running"), MachineState::Running);
        assert_eq!(meaning(true, "invented-later"), MachineState::Running);
        assert_eq!(meaning(false, "shutdown"), MachineState::Shutdown);
        assert_eq!(RunState::read(&Value::Null).state, MachineState::Paused);
    }

    #[test]
    fn events_say_who_shut_down_and_what_went_wrong() {
        let read = |name: &str, data: Value| Notice::read(&Event { name: name.into(), data });
        let powered_off = json!({"guest": true, "reason": "guest-shutdown"});
        assert_eq!(read("SHUTDOWN", powered_off), Notice::Shutdown { guest: true, problem: None });
        let quit = json!({"guest": false, "reason": "host-qmp-quit"});
        assert_eq!(read("SHUTDOWN", quit), Notice::Shutdown { guest: false, problem: None });
        let panic = json!({"guest": true, "reason": "guest-panic"});
        assert_eq!(read("SHUTDOWN", panic), Notice::Shutdown { guest: true, problem: Some(panicked()) });
        assert_eq!(read("STOP", Value::Null), Notice::Changed { problem: None });
        let disk = json!({"device": "d0", "operation": "write", "reason": "No space left on device"});
        let problem = Some("disk d0: write failed: No space left on device".to_owned());
        assert_eq!(read("BLOCK_IO_ERROR", disk), Notice::Changed { problem });
        assert_eq!(read("NIC_RX_FILTER_CHANGED", json!({})), Notice::Nothing);
        assert_eq!(read("INVENTED_LATER", json!([1, 2])), Notice::Nothing);
    }
}
