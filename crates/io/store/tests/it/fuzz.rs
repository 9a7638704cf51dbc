//! Database files with whatever in them: refused with a reason, or what they are said to hold is what can be read.

use std::{cell::RefCell, fs, path::Path};

use acp_io_store::{Retention, Snapshot, Store};

use crate::{anchor, chain, open, rows, scratch};

/// What an opened store says it holds has to be there: each entry in its place, in a chain up to the last.
async fn keeps_its_word(store: &Store, last: acp_io_store::Anchor) {
    let Ok(verified) = store.verify().await else { return };
    assert!(verified.broken_at.is_some() || verified.last == last, "it opened at {last:?} and holds {verified:?}");
    let Ok(page) = store.read(verified.first, verified.last.index).await else { return };
    let in_order = page.rows.iter().zip(verified.first..).all(|(row, index)| row.index == index);
    assert!(in_order || verified.broken_at.is_some(), "entries are missing within a chain that verifies");
}

#[test]
fn any_database_is_refused_or_read_as_it_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // One directory for all: a refused database leaves its files, which the next one replaces.
    let directory = RefCell::new(scratch());
    acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "database", |bytes| {
        let place = directory.replace(scratch());
        fs::write(place.path().join("cdb.sqlite"), bytes).expect("written");
        if let Ok((store, recovered)) = Store::open(place.path(), chain) {
            runtime.block_on(keeps_its_word(&store, recovered.last));
        }
    });
}

/// A store with so many entries, by the name of its file in the corpus.
const CORPUS: [(&str, u64); 3] = [("empty", 0), ("few", 3), ("snapshot", 12)];

/// With `ACP_BLESS` set it is made anew, for a changed layout.
#[tokio::test]
async fn the_corpus_is_of_the_layout_that_is_written() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/database");
    for (name, count) in CORPUS {
        if std::env::var_os("ACP_BLESS").is_some() {
            fs::write(corpus.join(name), made(name, count).await).expect("written");
        }
        let directory = scratch();
        fs::copy(corpus.join(name), directory.path().join("cdb.sqlite")).expect("copied");
        let (store, recovered) = open(directory.path());
        assert_eq!((recovered.last.index, store.verify().await.expect("readable").broken_at), (count, None), "{name}");
        assert_eq!(recovered.snapshot.is_some(), name == "snapshot");
    }
}

async fn made(name: &str, count: u64) -> Vec<u8> {
    let directory = scratch();
    let (store, recovered) = open(directory.path());
    let entries = rows(recovered.last, count);
    if let Some(last) = entries.last().map(anchor) {
        store.append(entries).await.expect("stored");
        if name == "snapshot" {
            store.snapshot(Snapshot { at: last, bytes: b"a state".to_vec() }).await.expect("stored");
            let retention = Retention { age: std::time::Duration::from_millis(5_000), bytes: 100 };
            crate::compact(&store, retention, last.time_ms).await.expect("compacted");
        }
    }
    drop(store);
    fs::read(directory.path().join("cdb.sqlite")).expect("a database")
}
