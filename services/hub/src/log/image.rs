//! A voter's snapshot: the state, and the last entries before it.

use std::sync::Arc;

use acp_core_cdb::{Hash, Image, State};
use serde::{Deserialize, Serialize};

use super::{batch::Blob, recent::Recent};

/// The layout written. A reader refuses a higher one.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// Empty before the first entry.
    state: Blob,
    /// The chain's hash before the first of the entries.
    before: [u8; 32],
    /// The last entries up to where the state stands.
    entries: Vec<Blob>,
}

/// The bytes of a snapshot; with the last entries, and the hash before them.
pub(super) fn encode(image: Option<Image>, (before, entries): (Hash, Vec<Arc<[u8]>>)) -> Vec<u8> {
    let entries = entries.iter().map(|bytes| Blob(bytes.to_vec())).collect();
    let state = Blob(image.map(Image::encode).unwrap_or_default());
    write(&Stored { format: FORMAT, state, before: before.bytes(), entries })
}

/// The bytes of a snapshot of a state alone, which is given encoded.
pub(super) fn of_state(state: Vec<u8>) -> Vec<u8> {
    write(&Stored { format: FORMAT, state: Blob(state), before: [0; 32], entries: Vec::new() })
}

fn write(stored: &Stored) -> Vec<u8> {
    rmp_serde::to_vec(stored).expect("numbers and bytes can be written")
}

/// What such bytes hold, or why they hold nothing.
pub(super) fn decode(bytes: &[u8]) -> Result<(State, Recent), String> {
    let stored: Stored = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.format > FORMAT {
        return Err(format!("it has layout {}, this version reads up to {FORMAT}", stored.format));
    }
    let state = match stored.state.0.as_slice() {
        [] => State::default(),
        bytes => State::restore(bytes).map_err(|error| acp_base::sentence(&error))?,
    };
    let count = u64::try_from(stored.entries.len()).map_err(|error| error.to_string())?;
    let base = state.index().checked_sub(count).ok_or("it has more entries than there were")?;
    if count == 0 {
        let recent = Recent::after(base, state.hash());
        return Ok((state, recent));
    }
    let mut hash = Hash::from_bytes(stored.before);
    let mut recent = Recent::after(base, hash);
    for Blob(bytes) in stored.entries {
        hash = hash.link(&bytes);
        recent.push(bytes, hash);
    }
    if hash != state.hash() {
        return Err("its entries do not lead to its state".to_owned());
    }
    Ok((state, recent))
}
