//! Any bytes from QEMU: however they arrive, the same messages come out, and memory has a bound.

use acp_dev_fuzz::{check, peak_bytes};
use acp_io_qmp::{Decoder, Message};

/// The messages until the first error, and the error's words.
fn messages<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Message>, Option<String>) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
    }
    (messages, None)
}

#[test]
fn messages_do_not_depend_on_how_they_arrive() {
    check(env!("CARGO_MANIFEST_DIR"), "qmp", |bytes| {
        let (whole, peak) = peak_bytes(|| messages(std::iter::once(bytes)));
        assert!(peak <= (64 << 10) + 100 * bytes.len(), "{peak} bytes for {}", bytes.len());
        assert_eq!(messages(bytes.chunks(1)), whole);
        assert_eq!(messages(bytes.chunks(7)), whole);
        if let Some(error) = whole.1 {
            assert!(!error.is_empty());
        }
    });
}
