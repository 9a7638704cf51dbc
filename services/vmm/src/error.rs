//! What failed in QEMU, as the caller reads it.

use acp_base::{Change, Code, Failure};
use acp_io_qmp::{ErrorClass, ExecuteError};

/// The failure that a command's error amounts to.
pub(crate) fn to_failure(error: &ExecuteError) -> Failure {
    let code = match error {
        ExecuteError::Refused { class: ErrorClass::CommandNotFound, .. } => Code::Unimplemented,
        ExecuteError::Refused { .. } => Code::FailedPrecondition,
        ExecuteError::TimedOut { .. } => Code::DeadlineExceeded,
        ExecuteError::Closed { .. } => Code::Unavailable,
        ExecuteError::TooLong { .. } => Code::Internal,
    };
    let changed = match error {
        ExecuteError::TimedOut { .. } | ExecuteError::Closed { .. } => Change::Unknown,
        ExecuteError::Refused { .. } | ExecuteError::TooLong { .. } => Change::None,
    };
    Failure::new(code, error.to_string()).changed(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_leaves_open_what_happened() {
        let lost = to_failure(&ExecuteError::Closed { command: "cont".into() });
        assert_eq!((lost.code, lost.changed), (Code::Unavailable, Change::Unknown));
        let refused =
            ExecuteError::Refused { command: "cont".into(), class: ErrorClass::GenericError, desc: "no".into() };
        let refused = to_failure(&refused);
        assert_eq!((refused.code, refused.changed), (Code::FailedPrecondition, Change::None));
        assert_eq!(refused.message, "QEMU refused cont: GenericError: no");
    }
}
