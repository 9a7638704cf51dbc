//! Any bytes as entries, logs and snapshots: what is read is written the same way, and every replica comes to the same.

use acp_core_cdb::{Cursor, Database, Mac, Outcome, State, Subnet, decode, encode};
use acp_dev_fuzz::{check, peak_bytes};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");
/// What reading takes at once, whatever the input claims to hold (serde reserves at most a mebibyte on a claim).
const MEMORY: usize = 4 << 20;

#[test]
fn entries_are_canonical() {
    check(CRATE, "entry", |bytes| {
        let (read, peak) = peak_bytes(|| decode(bytes, 7));
        assert!(peak <= MEMORY + 200 * bytes.len(), "{peak} bytes for {}", bytes.len());
        match read {
            Ok(entry) => {
                let written = encode(&entry);
                assert_eq!(decode(&written, 7).as_ref(), Ok(&entry));
                assert_eq!(encode(&decode(&written, 7).expect("read above")), written, "it has one form");
            }
            Err(stall) => assert!(!stall.to_string().is_empty()),
        }
    });
}

/// An input is a log: entries with their length, two bytes, before each.
#[test]
fn replicas_agree_about_any_log() {
    check(CRATE, "log", |mut bytes| {
        let mut replicas = [Database::default(), Database::default()];
        while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let (entry, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
            bytes = rest;
            let stood = replicas[0].state().index();
            let outcome = replicas[0].apply(entry);
            assert_eq!(format!("{:?}", replicas[1].apply(entry)), format!("{outcome:?}"));
            if matches!(outcome, Outcome::Stalled(_)) {
                assert_eq!(replicas[0].state().index(), stood, "what stalls changes nothing");
            }
        }
        let [one, other] = &replicas;
        assert_eq!(one.state(), other.state());
        assert_eq!(one.state().hash(), other.state().hash());
        if let Some(image) = one.state().image() {
            let restored = State::restore(&image.encode()).expect("its own snapshot");
            assert_eq!(restored.hash(), one.state().hash());
        }
    });
}

#[test]
fn a_snapshot_comes_whole_or_not_at_all() {
    check(CRATE, "snapshot", |bytes| {
        let (read, peak) = peak_bytes(|| State::restore(bytes));
        assert!(peak <= MEMORY + 200 * bytes.len(), "{peak} bytes for {}", bytes.len());
        match read {
            Ok(state) => {
                let written = state.image().expect("a snapshot has an identity").encode();
                let again = State::restore(&written).expect("its own");
                assert_eq!(again, state);
                assert_eq!(again.image().expect("as before").encode(), written, "it has one form");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

#[test]
fn cursors_addresses_and_macs_are_written_as_they_are_read() {
    check(CRATE, "text", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(cursor) = text.parse::<Cursor>() {
            assert_eq!(cursor.to_string().parse::<Cursor>().ok(), Some(cursor));
        }
        if let Ok(mac) = text.parse::<Mac>() {
            assert_eq!(mac.to_string().parse::<Mac>().ok(), Some(mac));
        }
        if let Ok(subnet) = text.parse::<Subnet>() {
            assert!(subnet.admits(subnet.gateway()) || !subnet.gateway().is_unspecified(), "{text}");
        }
    });
}
