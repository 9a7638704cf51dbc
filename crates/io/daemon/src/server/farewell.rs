//! What is said to a caller before a connection is closed or a call is given up.

use std::time::Duration;

use acp_base::{Blame, Change, Code, Failure};
use acp_io_varlink::{HeldMax, OutgoingReply, ReadError};
use acp_wire_api::error;
use tokio::{net::UnixStream, time::timeout};

use super::CALL_BYTES_MAX;

/// How long a refusal may take to be written.
pub(super) const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Tells a caller why it is turned away.
pub(super) async fn refuse(stream: UnixStream, failure: Failure) {
    let (_reader, mut writer) = acp_io_varlink::split(stream, CALL_BYTES_MAX, None);
    let parameters = error::parameters(&failure);
    let name = error::error_name(failure.code);
    let reply = OutgoingReply { error: Some(&name), parameters: &parameters, continues: false, trace: None };
    if timeout(REFUSAL_TIMEOUT, writer.send(&reply, &[])).await.is_err() {
        tracing::debug!("a refused caller did not read why");
    }
}

/// Why no further call is read; nothing if there is nobody to tell.
pub(super) fn unreadable(error: &ReadError) -> Option<Failure> {
    let (code, text) = match error {
        ReadError::Closed | ReadError::Io(_) => return None,
        ReadError::TooSlow => (Code::DeadlineExceeded, error.to_string()),
        ReadError::TooManyDescriptors => (Code::ResourceExhausted, error.to_string()),
        ReadError::TooLarge(max) => {
            (Code::ResourceExhausted, format!("the message is larger than {max} bytes, the most that is taken"))
        }
        ReadError::Malformed(_) => return Some(Failure::invalid(error.to_string())),
    };
    Some(Failure::new(code, text).blame(Blame::Caller))
}

/// The connection was chosen because too much is held.
pub(super) fn holds_too_much(max: HeldMax) -> Failure {
    let HeldMax { uid_bytes, total_bytes } = max;
    let text = format!(
        "unfinished messages, calls and unread replies hold more than {uid_bytes} bytes for this user or {total_bytes} \
         for all: this connection holds the most of it and is closed"
    );
    Failure::new(Code::ResourceExhausted, text).blame(Blame::Caller)
}

pub(super) fn too_late(method: &str) -> Failure {
    Failure::new(Code::DeadlineExceeded, format!("{method} was not done in time")).changed(Change::Unknown)
}
