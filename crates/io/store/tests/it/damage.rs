//! Changed, cut off and missing files: everything acknowledged is there, or the store is refused; never silently less.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use acp_dev_wait::{seen, wait_for_async};
use acp_io_store::{Anchor, Store, StoreError};

use crate::{anchor, chain, rows, scratch};

/// Commits in the write-ahead log that is damaged, and entries in each.
const COMMITS: u64 = 30;
const ENTRIES: u64 = 2;
/// A byte in so many is flipped: prime to the size of a frame, so that each place in a frame has its turn.
const STEP: usize = 431;
/// The witness follows within half a second; a busy machine may take longer.
const WITNESS_LIMIT: Duration = Duration::from_secs(20);

const FILES: [&str; 3] = ["cdb.sqlite", "cdb.sqlite-wal", "cdb.witness"];

fn log(directory: &Path) -> PathBuf {
    directory.join(FILES[1])
}

/// What a crash leaves of a store of many commits, all of them witnessed.
async fn crashed() -> (tempfile::TempDir, Anchor) {
    let (directory, copy) = (scratch(), scratch());
    let (store, mut recovered) = Store::open(directory.path(), chain).expect("a new store");
    for _commit in 0..COMMITS {
        let batch = rows(recovered.last, ENTRIES);
        recovered.last = anchor(batch.last().expect("not empty"));
        store.append(batch).await.expect("stored");
    }
    let due = format!("acp-witness 1 {} ", recovered.last.index);
    let witness = || fs::read_to_string(directory.path().join(FILES[2])).unwrap_or_default();
    let look = async || seen(witness(), |text| text.starts_with(&due));
    wait_for_async("the witness", WITNESS_LIMIT, look).await.expect("it follows");
    copy_files(directory.path(), copy.path());
    (copy, recovered.last)
}

fn copy_files(from: &Path, to: &Path) {
    for file in FILES {
        fs::copy(from.join(file), to.join(file)).expect("copied");
    }
}

/// Opens a copy with this write-ahead log.
fn open_with(intact: &Path, bytes: &[u8], witnessed: bool) -> (tempfile::TempDir, Result<Anchor, StoreError>) {
    let copy = scratch();
    copy_files(intact, copy.path());
    fs::write(log(copy.path()), bytes).expect("written");
    if !witnessed {
        fs::remove_file(copy.path().join(FILES[2])).expect("removed");
    }
    let opened = Store::open(copy.path(), chain).map(|(_store, recovered)| recovered.last);
    (copy, opened)
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_the_log_is_never_silently_less() {
    let (intact, last) = crashed().await;
    let bytes = fs::read(log(intact.path())).expect("a log");
    for at in (0..56).chain((56..bytes.len()).step_by(STEP)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let (copy, opened) = open_with(intact.path(), &damaged, true);
        match opened {
            Ok(found) => assert_eq!(found, last, "byte {at}"),
            Err(error) => {
                assert!(error.is_data_loss(), "byte {at}: {error:?}");
                assert_eq!(fs::read(log(copy.path())).expect("kept"), damaged, "byte {at}: evidence is kept");
            }
        }
    }
}

#[tokio::test]
async fn damage_before_the_last_commits_is_found_without_a_witness() {
    let (intact, _last) = crashed().await;
    let bytes = fs::read(log(intact.path())).expect("a log");
    let (frame, header) = (24 + 4_096, 32);
    let commit = |at: usize| bytes[header + at * frame + 4..header + at * frame + 8] != [0; 4];
    let frames = (bytes.len() - header) / frame;
    let commits: Vec<usize> = (0..frames).filter(|at| commit(*at)).collect();
    // Behind the damaged frame two whole commits must be left, beside the one that is itself damaged.
    let end = header + (commits[commits.len() - 4] + 1) * frame;
    for at in (0..56).chain((56..end).step_by(STEP * 3)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let (_copy, opened) = open_with(intact.path(), &damaged, false);
        assert!(matches!(opened, Err(StoreError::LogDamaged { .. })), "byte {at}: {opened:?}");
    }
}

#[tokio::test]
async fn a_log_that_is_cut_off_or_missing_is_refused() {
    let (intact, last) = crashed().await;
    let bytes = fs::read(log(intact.path())).expect("a log");
    for length in (0..bytes.len()).step_by(STEP * 17) {
        let (_copy, opened) = open_with(intact.path(), &bytes[..length], true);
        let said = opened.expect_err("shorter than it was");
        assert!(matches!(said, StoreError::Shorter { index, .. } if index == last.index), "{length}: {said:?}");
    }
    fs::remove_file(log(intact.path())).expect("removed");
    let error = Store::open(intact.path(), chain).expect_err("missing");
    assert!(matches!(error, StoreError::Shorter { last: 0, .. }) && error.is_data_loss(), "{error:?}");
}

#[tokio::test]
async fn an_older_database_is_taken_only_on_purpose() {
    let directory = scratch();
    let older = scratch();
    let (store, recovered) = Store::open(directory.path(), chain).expect("a new store");
    store.append(rows(recovered.last, 3)).await.expect("stored");
    drop(store);
    fs::copy(directory.path().join(FILES[0]), older.path().join(FILES[0])).expect("copied");
    let (store, recovered) = Store::open(directory.path(), chain).expect("opens");
    store.append(rows(recovered.last, 3)).await.expect("stored");
    drop(store);
    fs::copy(older.path().join(FILES[0]), directory.path().join(FILES[0])).expect("put back");
    let error = Store::open(directory.path(), chain).expect_err("older");
    let witness = directory.path().join(FILES[2]);
    assert!(matches!(error, StoreError::Shorter { last: 3, index: 6, .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("remove {}", witness.display())), "{error}");
    fs::remove_file(witness).expect("removed");
    let (_store, recovered) = Store::open(directory.path(), chain).expect("on purpose");
    assert_eq!(recovered.last.index, 3);
}
