//! The committed datagrams: they open, for as long as the layout has this number, and nothing made of them does.

use super::*;
use crate::limits::PAYLOAD_BYTES_MAX;

/// What is in each file of the corpus: the payloads that the peer seals one after the other.
const SAMPLES: [(&str, &[u8]); 4] =
    [("empty", b""), ("short", b"slots"), ("long", &[0x5a; 300]), ("full", &[0xa5; PAYLOAD_BYTES_MAX])];

fn committed(name: &str) -> Vec<u8> {
    let path = format!("{}/corpus/datagram/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_layout_is_what_it_was() {
    let mut peer = sealer(1);
    for (name, payload) in SAMPLES {
        let now = sealed(&mut peer, payload);
        assert_eq!(acp_base::to_hex(&now), acp_base::to_hex(&committed(name)), "{name}");
    }
}

#[test]
fn nothing_that_is_made_of_datagrams_opens_or_panics() {
    let originals = SAMPLES.map(|(name, _)| committed(name));
    let mut known = sealer(1);
    (0..10).for_each(|_| drop(sealed(&mut known, b"skipped")));
    let first = sealed(&mut known, b"known");
    acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "datagram", |bytes| {
        for knows_sender in [false, true] {
            let mut opener = opener();
            if knows_sender {
                assert!(open(&mut opener, &first).is_ok());
            }
            let senders = opener.senders();
            let is_original = originals.iter().any(|original| original == bytes);
            assert_eq!(open(&mut opener, bytes).is_ok(), is_original);
            if !is_original {
                assert_eq!(refused(&opener).len(), 1, "one reason, counted");
                assert_eq!(opener.senders(), senders, "nothing is remembered");
            }
        }
    });
}
