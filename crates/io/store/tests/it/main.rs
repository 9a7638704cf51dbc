//! The store as its driver sees it, on a real disk and on one that fails.

mod damage;
mod disk;
mod faults;
mod fuzz;
#[expect(dead_code, reason = "the tests of the replicated log hold synchronisations back")]
mod vfs;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use acp_io_store::{Anchor, Recovered, Retention, Row, Snapshot, Store, StoreError};

/// A chain good enough to notice every single change of a byte.
fn chain(before: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    let mut lanes = [0_u64; 4];
    for (lane, word) in lanes.iter_mut().zip(before.chunks_exact(8)) {
        *lane = u64::from_le_bytes(word.try_into().expect("eight bytes"));
    }
    let length = u64::try_from(bytes.len()).expect("fits").to_le_bytes();
    for (at, part) in bytes.chunks(8).chain([&length[..]]).enumerate() {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        let lane = (lanes[at % 4] ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        lanes[(at + 1) % 4] ^= lane;
        lanes[at % 4] = lane.rotate_left(29);
    }
    let mut hash = [0; 32];
    hash.chunks_exact_mut(8).zip(lanes).for_each(|(part, lane)| part.copy_from_slice(&lane.to_le_bytes()));
    hash
}

/// Rows after this position: the entry with index n holds the text `entry-n`.
fn rows(after: Anchor, count: u64) -> Vec<Row> {
    let mut hash = after.hash;
    let row = |index: u64| {
        let bytes = format!("entry-{index:08}").into_bytes();
        hash = chain(&hash, &bytes);
        Row { index, hash, time_ms: index * 1_000, bytes, refused: None }
    };
    (after.index + 1..=after.index + count).map(row).collect()
}

fn anchor(row: &Row) -> Anchor {
    Anchor { index: row.index, hash: row.hash, time_ms: row.time_ms }
}

/// A directory in memory where there is one: for tests that open stores by the hundred and lose no power but on paper.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).expect("a directory")
}

fn open(directory: &Path) -> (Store, Recovered) {
    Store::open(directory, chain).expect("the store opens")
}

async fn filled(directory: &Path, count: u64) -> Anchor {
    let (store, recovered) = open(directory);
    let rows = rows(recovered.last, count);
    let last = rows.last().map_or(recovered.last, anchor);
    store.append(rows).await.expect("stored");
    last
}

/// Removes what is beyond retention.
async fn compact(store: &Store, retention: Retention, now_ms: u64) -> Result<u64, StoreError> {
    match store.cut(retention, now_ms).await? {
        Some(cut) => store.trim(cut.index).await,
        None => Ok(0),
    }
}

/// What a crash would leave: the files as they are now.
fn crashed_copy(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for file in ["cdb.sqlite", "cdb.sqlite-wal"] {
        let source = directory.join(file);
        if source.exists() {
            fs::copy(source, copy.path().join(file)).expect("copied");
        }
    }
    copy
}

fn database(directory: &Path) -> PathBuf {
    directory.join("cdb.sqlite")
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered, Recovered::default());
    let mut last = recovered.last;
    for batch in [1, 7, 300] {
        let rows = rows(last, batch);
        last = anchor(rows.last().expect("not empty"));
        store.append(rows).await.expect("stored");
        let copy = crashed_copy(directory.path());
        let (_crashed, recovered) = open(copy.path());
        assert_eq!((recovered.snapshot, recovered.last), (None, last));
    }
    assert!(store.bytes() > 0);
}

#[tokio::test]
async fn a_batch_that_does_not_follow_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, recovered) = open(directory.path());
    let mut gap = rows(recovered.last, 3);
    gap.remove(1);
    let error = store.append(gap).await.expect_err("a gap");
    assert!(matches!(error, StoreError::OutOfOrder { expected: 2, found: 3 }), "{error:?}");
    assert!(store.read(1, u64::MAX).await.expect("readable").rows.is_empty(), "nothing of it is stored");
    store.append(rows(recovered.last, 3)).await.expect("stored");
}

#[tokio::test]
async fn pages_follow_each_other_and_refusals_are_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    filled(directory.path(), 1_200).await;
    let (store, _recovered) = open(directory.path());
    store.refuse(vec![(7, "because".into())]).await.expect("noted");
    let mut next = 1;
    while let Some(last) = store.read(next, 1_100).await.expect("readable").rows.last() {
        assert!(last.index >= next);
        next = last.index + 1;
    }
    assert_eq!(next, 1_101);
    let row = store.read(7, 7).await.expect("readable").rows.remove(0);
    assert_eq!((row.refused.as_deref(), row.bytes.as_slice()), (Some("because"), &b"entry-00000007"[..]));
}

#[tokio::test]
async fn a_flipped_bit_is_found_and_its_entry_named() {
    let directory = tempfile::tempdir().expect("a directory");
    filled(directory.path(), 20).await;
    let path = database(directory.path());
    let mut bytes = fs::read(&path).expect("closed, so all is in one file");
    let at = bytes.windows(14).position(|window| window == b"entry-00000013").expect("stored as it is");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    let error = Store::open(directory.path(), chain).expect_err("broken");
    assert!(matches!(error, StoreError::Broken { index: 13 }) && error.is_data_loss(), "{error:?}");
}

#[tokio::test]
async fn damage_behind_the_snapshot_is_found_by_a_verification() {
    let directory = tempfile::tempdir().expect("a directory");
    let last = filled(directory.path(), 20).await;
    {
        let (store, _recovered) = open(directory.path());
        store.snapshot(Snapshot { at: last, bytes: b"state".to_vec() }).await.expect("stored");
        let verified = store.verify().await.expect("readable");
        assert_eq!((verified.first, verified.last, verified.broken_at), (1, last, None));
    }
    let path = database(directory.path());
    let mut bytes = fs::read(&path).expect("readable");
    let at = bytes.windows(14).position(|window| window == b"entry-00000004").expect("stored as it is");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.snapshot.expect("kept").bytes, b"state");
    assert_eq!(store.verify().await.expect("readable").broken_at, Some(4));
}

#[tokio::test]
async fn a_damaged_snapshot_or_file_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let last = filled(directory.path(), 2).await;
    {
        let (store, _recovered) = open(directory.path());
        store.snapshot(Snapshot { at: last, bytes: b"state-marker".to_vec() }).await.expect("stored");
    }
    let path = database(directory.path());
    let intact = fs::read(&path).expect("readable");
    let mut bytes = intact.clone();
    let at = bytes.windows(12).position(|window| window == b"state-marker").expect("stored as it is");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    let error = Store::open(directory.path(), chain).expect_err("broken");
    assert!(matches!(error, StoreError::SnapshotBroken { index: 2 }) && error.is_data_loss(), "{error:?}");
    fs::write(&path, &intact[..intact.len() / 2]).expect("written");
    let error = Store::open(directory.path(), chain).expect_err("cut off");
    assert!(error.is_data_loss(), "{error:?}");
    fs::write(&path, vec![7; 8192]).expect("written");
    let error = Store::open(directory.path(), chain).expect_err("no database");
    assert!(error.is_data_loss(), "{error:?}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_or_another_program_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    filled(directory.path(), 1).await;
    let path = database(directory.path());
    let mut bytes = fs::read(&path).expect("readable");
    // The header's field for user_version, big-endian (SQLite file format, 1.3).
    bytes[60..64].copy_from_slice(&9_u32.to_be_bytes());
    fs::write(&path, &bytes).expect("written");
    let error = Store::open(directory.path(), chain).expect_err("newer");
    assert!(matches!(error, StoreError::Newer { found: 9, known: 1, .. }), "{error:?}");
    assert!(
        error.to_string().contains("cdb.sqlite has layout 9")
            && error.to_string().contains("install the newer version"),
        "{error}"
    );
    // The field for application_id.
    bytes[68..72].copy_from_slice(&7_u32.to_be_bytes());
    fs::write(&path, &bytes).expect("written");
    assert!(matches!(Store::open(directory.path(), chain), Err(StoreError::Foreign { .. })));
}

#[tokio::test]
async fn retention_removes_only_what_the_snapshot_covers() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, recovered) = open(directory.path());
    let batch = rows(recovered.last, 100);
    let (at, last) = (anchor(&batch[79]), anchor(&batch[99]));
    store.append(batch).await.expect("stored");
    let nothing = Retention { age: Duration::ZERO, bytes: 0 };
    assert_eq!(compact(&store, nothing, 1_000_000).await.expect("done"), 0, "no snapshot, no removal");
    store.snapshot(Snapshot { at, bytes: b"state".to_vec() }).await.expect("stored");
    let days = Retention { age: Duration::from_secs(60), bytes: u64::MAX };
    assert_eq!(compact(&store, days, 91_000).await.expect("done"), 30, "entries are a second apart");
    let bytes = Retention { age: Duration::from_secs(1_000_000), bytes: 14 * 20 };
    assert_eq!(
        compact(&store, bytes, 91_000).await.expect("done"),
        30,
        "20 entries of 14 bytes stay before the snapshot"
    );
    let error = store.read(60, 70).await.expect_err("removed");
    assert!(matches!(error, StoreError::Compacted { first: 61 }), "{error:?}");
    assert_eq!(store.read(61, 61).await.expect("kept").base.index, 60);
    let verified = store.verify().await.expect("readable");
    assert_eq!((verified.first, verified.last, verified.broken_at), (61, last, None));
    assert_eq!(compact(&store, nothing, 1_000_000).await.expect("done"), 20);
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.last, last);
    assert_eq!(store.read(81, u64::MAX).await.expect("kept").rows.len(), 20);
}

#[tokio::test]
async fn the_anchor_stays_until_another_takes_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, recovered) = open(directory.path());
    let batch = rows(recovered.last, 100);
    let at = |index: usize| anchor(&batch[index - 1]);
    let stored = |index: usize| Snapshot { at: at(index), bytes: format!("state {index}").into_bytes() };
    store.append(batch.clone()).await.expect("stored");
    assert_eq!(store.snapshot_before(50).await.expect("readable"), None, "kept from its beginning");
    store.snapshot(stored(60)).await.expect("stored");
    store.snapshot(stored(80)).await.expect("stored");
    assert_eq!(store.snapshot_before(79).await.expect("readable"), None, "none is needed at the beginning");
    assert_eq!(store.snapshot_before(80).await.expect("readable"), Some(stored(80)));
    store.set_anchor(stored(40)).await.expect("stored");
    assert_eq!(store.trim(40).await.expect("removed"), 40);
    assert_eq!(store.anchor().await.expect("readable"), at(40));
    store.snapshot(stored(100)).await.expect("stored");
    assert_eq!(
        store.snapshot_before(99).await.expect("readable"),
        Some(stored(40)),
        "the newest one alone was replaced"
    );
    let error = store.snapshot_before(39).await.expect_err("too far back");
    assert!(matches!(error, StoreError::BeforeAnchor { anchor } if anchor == at(40)), "{error:?}");
    store.set_anchor(stored(70)).await.expect("stored");
    assert_eq!(store.trim(1_000).await.expect("removed"), 60, "never beyond the newest snapshot");
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!((recovered.snapshot, recovered.last), (Some(stored(100)), at(100)));
    assert_eq!(store.anchor().await.expect("readable"), at(70));
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    filled(directory.path(), 100).await;
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.last.index, 100);
    let at = Anchor { index: 7, hash: [9; 32], time_ms: 5 };
    let state = Snapshot { at, bytes: b"another state".to_vec() };
    store.reset(state.clone()).await.expect("stored");
    assert_eq!(store.anchor().await.expect("readable"), at);
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!((recovered.snapshot, recovered.last), (Some(state), at), "and no witness of what was before");
    assert!(store.read(8, u64::MAX).await.expect("readable").rows.is_empty());
    store.append(rows(at, 3)).await.expect("the log goes on from it");
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.last.index, 10);
    assert_eq!(store.verify().await.expect("readable").first, 8);
}
