//! Any bytes as calls and replies: what is read is what was written, and errors and memory have bounds.

use acp_dev_fuzz::{check, peak_bytes};
use acp_io_varlink::{IncomingCall, IncomingReply, OutgoingCall, OutgoingReply, REASON_BYTES_MAX};
use serde_json::Value;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");
/// What reading takes beside the message itself: a copy of it, what the reader notes while it skips, an error.
const MEMORY: usize = 8 * 1024;

fn bounded<T>(bytes: &[u8], decode: impl FnOnce(&[u8]) -> Result<T, String>) -> Option<T> {
    let (read, peak) = peak_bytes(|| decode(bytes));
    assert!(peak <= MEMORY + 6 * bytes.len(), "{peak} bytes for {}", bytes.len());
    match read {
        Ok(read) => Some(read),
        Err(reason) => {
            assert!(!reason.is_empty() && reason.len() <= REASON_BYTES_MAX, "{reason}");
            None
        }
    }
}

#[test]
fn calls_read_as_they_were_written() {
    check(CRATE, "call", |bytes| {
        let Some(call) = bounded(bytes, IncomingCall::decode) else { return };
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        if !call.oneway && value.is_object() {
            let again = OutgoingCall {
                method: &call.method,
                parameters: &call.parameters,
                more: call.more,
                upgrade: call.upgrade,
                context: Some(call.context.clone()),
            };
            let again = IncomingCall::decode(&serde_json::to_vec(&again).expect("writable")).expect("our own");
            assert_eq!(format!("{again:?}"), format!("{call:?}"));
        }
    });
}

#[test]
fn replies_read_as_they_were_written() {
    check(CRATE, "reply", |bytes| {
        let Some(reply) = bounded(bytes, IncomingReply::decode) else { return };
        let again = OutgoingReply {
            error: reply.error.as_deref(),
            parameters: &reply.parameters,
            continues: reply.continues,
            trace: reply.trace.clone(),
        };
        let again = IncomingReply::decode(&serde_json::to_vec(&again).expect("writable")).expect("our own");
        assert_eq!(format!("{again:?}"), format!("{reply:?}"));
    });
}
