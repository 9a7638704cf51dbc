//! What may lie in a pool and how its files hang together: image headers, places, chains, sizes, sources.
//!
//! Everything here is a pure function of bytes and names that somebody else read. Deliberately not here: files,
//! processes, the network (`services/storage`), and who may call (`acp-wire-api`).
//!
//! **Invariants**: [`inspect`] decides every sequence of bytes and never panics; every [`Place`] names a file directly
//! below `images/` or `volumes/` of its own pool, so no name and no header leads out of it; a [`Chain`] ends, is at most
//! [`CHAIN_LAYERS_MAX`] long and has each file once.
//!
//! Driven by the storage service and its workers.

mod chain;
mod foreign;
mod header;
mod inspect;
mod place;
mod pool;
mod raw;
mod size;
mod source;

pub use chain::{CHAIN_LAYERS_MAX, Chain, ChainError, Facts, Inventory};
pub use header::{HeaderError, Qcow2};
pub use inspect::{Content, HEAD_BYTES, InspectError, inspect};
pub use place::{Place, PlaceError};
pub use pool::{PATH_BYTES_MAX, PathError, Verdict, check_path, judge, overlap};
pub use raw::RawKind;
pub use size::{DISK_BYTES_MAX, DISK_BYTES_MIN, SECTOR_BYTES, SizeError, check_expansion, check_size};
pub use source::{Source, SourceError, URL_BYTES_MAX, check_sha256};
