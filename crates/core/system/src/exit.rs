//! Why a QEMU ended.

use acp_wire_model::{system::ExitReason, unit::UnitExit};

use crate::Guest;

/// Signals by which people and programs end a process from outside: HUP, INT, KILL, TERM (signal(7)). Every other fatal
/// signal is the process's own fault.
const SIGNALS_FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];

/// Why a QEMU that had come up ended, though nobody here asked it to.
///
/// Status 0 has three causes: the guest powered off, QEMU was sent TERM (it then ends in good order), or somebody used its
/// monitor. The machine monitor's last word tells the first from the others. Without any word it was most likely ended
/// together with its monitor, as when a whole node is stopped, and not by its guest.
pub fn classify(exit: &UnitExit, last: Option<Guest>) -> ExitReason {
    let by_guest = matches!(last, Some(Guest::Off { by_guest: true } | Guest::Gone { by_guest: true }));
    if exit.out_of_memory {
        return ExitReason::OutOfMemory;
    }
    match (exit.signal, exit.status) {
        (Some(signal), _) if SIGNALS_FROM_OUTSIDE.contains(&signal) => ExitReason::Killed,
        (Some(_), _) => ExitReason::Crashed,
        (None, Some(0)) | (None, None) if by_guest => ExitReason::GuestPoweroff,
        (None, Some(0) | None) => ExitReason::Killed,
        (None, Some(_)) => ExitReason::Crashed,
    }
}

/// Whether the machine monitor's last word can still change what [`classify`] answers.
pub fn needs_last_word(exit: &UnitExit, last: Option<Guest>) -> bool {
    exit.signal.is_none() && !exit.out_of_memory && exit.status.unwrap_or(0) == 0 && !last.is_some_and(Guest::is_over)
}

/// How a process ended, in words.
pub fn describe(exit: &UnitExit) -> String {
    match (exit.out_of_memory, exit.signal, exit.status) {
        (true, _, _) => "it was killed by the kernel because its memory limit was reached".to_owned(),
        (_, Some(signal), _) => format!("it was ended by signal {signal}"),
        (_, _, Some(status)) => format!("it ended with status {status}"),
        (_, None, None) => "how it ended is not known".to_owned(),
    }
}

/// Why the system stopped, for people.
pub fn sentence(reason: ExitReason, exit: &UnitExit) -> String {
    match reason {
        ExitReason::GuestPoweroff => "the guest powered off".to_owned(),
        ExitReason::Stopped => "stopped".to_owned(),
        ExitReason::OutOfMemory => "QEMU was killed by the kernel because its memory limit was reached".to_owned(),
        ExitReason::Killed => format!("QEMU was killed: {}", describe(exit)),
        ExitReason::Crashed => format!("QEMU crashed: {}", describe(exit)),
        ExitReason::StartFailed => format!("QEMU did not come up: {}", describe(exit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(status: Option<i32>, signal: Option<i32>) -> UnitExit {
        UnitExit { status, signal, out_of_memory: false, lost: status.is_none() && signal.is_none() }
    }

    #[test]
    fn every_kind_of_end_is_told_apart() {
        let guest = Some(Guest::Off { by_guest: true });
        let host = Some(Guest::Gone { by_guest: false });
        let cases = [
            (exit(Some(0), None), guest, ExitReason::GuestPoweroff),
            (exit(Some(0), None), Some(Guest::Gone { by_guest: true }), ExitReason::GuestPoweroff),
            (exit(Some(0), None), host, ExitReason::Killed),
            (exit(Some(0), None), Some(Guest::Running), ExitReason::Killed),
            (exit(Some(0), None), None, ExitReason::Killed),
            (exit(Some(1), None), guest, ExitReason::Crashed),
            (exit(None, Some(9)), Some(Guest::Running), ExitReason::Killed),
            (exit(None, Some(15)), None, ExitReason::Killed),
            (exit(None, Some(11)), Some(Guest::Running), ExitReason::Crashed),
            (exit(None, Some(6)), guest, ExitReason::Crashed),
            (exit(None, None), guest, ExitReason::GuestPoweroff),
            (exit(None, None), Some(Guest::Running), ExitReason::Killed),
            (UnitExit { out_of_memory: true, ..exit(None, Some(9)) }, None, ExitReason::OutOfMemory),
        ];
        for (exit, last, expected) in cases {
            assert_eq!(classify(&exit, last), expected, "{exit:?} {last:?}");
        }
    }

    #[test]
    fn the_last_word_is_awaited_only_where_it_matters() {
        assert!(needs_last_word(&exit(Some(0), None), Some(Guest::Running)));
        assert!(needs_last_word(&exit(None, None), None));
        assert!(!needs_last_word(&exit(Some(0), None), Some(Guest::Gone { by_guest: false })));
        assert!(!needs_last_word(&exit(Some(1), None), Some(Guest::Running)));
        assert!(!needs_last_word(&exit(None, Some(9)), None));
    }
}
