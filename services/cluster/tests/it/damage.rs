//! Restarts, crashes, and databases that cannot be believed.

use std::{fs, path::Path};

use acp_base::{Change, Code, Uid};
use acp_cluster::Config;
use acp_core_cdb::Hash;
use acp_io_daemon::Fatal;
use acp_io_store::{Row, Store};
use acp_wire_api::cluster as api;
use acp_wire_model::{Kind, object::Facet};
use serde_json::json;

use crate::node::{Node, all, directory, system};

fn database(directory: &Path) -> std::path::PathBuf {
    directory.join("state/cluster/cdb.sqlite")
}

/// What the disk would hold if the power failed now: nothing is closed, nothing is tidied.
fn power_failure(directory: &Path) -> tempfile::TempDir {
    let copy = crate::node::directory();
    fs::create_dir_all(copy.path().join("state/cluster")).expect("created");
    for suffix in ["", "-wal"] {
        let file = |root: &Path| {
            let path = database(root).into_os_string().into_string().expect("plain");
            format!("{path}{suffix}")
        };
        fs::copy(file(directory), file(copy.path())).expect("copied");
    }
    copy
}

#[tokio::test]
async fn a_restart_keeps_everything_acknowledged() {
    let directory = directory();
    let node = Node::start(directory.path());
    for number in 0..20 {
        node.create(Kind::System, &format!("s{number}"), system()).await.expect("free");
    }
    node.create(Kind::System, "s0", system()).await.expect_err("taken");
    let (status, objects) = (node.status().await, node.list(all(Kind::System)).await.expect("listed"));
    node.stop().await;
    let node = Node::start(directory.path());
    let again = node.status().await;
    assert_eq!(
        (again.cluster, again.index, again.hash, again.epoch),
        (status.cluster, status.index, status.hash, status.epoch)
    );
    assert_eq!(node.list(all(Kind::System)).await.expect("listed"), objects);
    node.stop().await;
}

#[tokio::test]
async fn a_power_failure_loses_nothing_acknowledged() {
    let directory = directory();
    let config = Config { snapshot_entries: 16, ..Config::default() };
    let node = Node::start_with(directory.path(), config.clone());
    let mut acknowledged: Vec<Uid> = Vec::new();
    for round in 0..6 {
        for number in 0..7 {
            let written = node.create(Kind::System, &format!("s{round}-{number}"), system()).await.expect("free");
            acknowledged.push(written.uid);
        }
        // The files are copied one after the other, which is sound while nothing moves pages between them: SQLite does so
        // after 1,000 pages of write-ahead log, far more than this test writes.
        let status = node.status().await;
        let copy = power_failure(directory.path());
        let survivor = Node::start_with(copy.path(), config.clone());
        let recovered = survivor.status().await;
        assert_eq!((recovered.index, recovered.hash), (status.index, status.hash));
        let there: Vec<Uid> =
            survivor.list(all(Kind::System)).await.expect("listed").iter().map(|object| object.uid).collect();
        for uid in &acknowledged {
            assert!(there.contains(uid), "{uid} was acknowledged and is gone");
        }
        survivor.stop().await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_changed_byte_is_refused_and_the_entry_named() {
    let directory = directory();
    let node = Node::start(directory.path());
    for number in 0..10 {
        node.create(Kind::System, &format!("system-{number}"), system()).await.expect("free");
    }
    node.stop().await;
    let path = database(directory.path());
    let mut bytes = fs::read(&path).expect("closed, so all is in one file");
    let at = bytes.windows(8).position(|window| window == b"system-4").expect("stored as it is");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    let fatal = Node::start(directory.path()).failure().await;
    assert!(matches!(fatal, Fatal::Config(_)), "{fatal:?}");
    assert!(fatal.to_string().contains("the log does not verify at entry 6"), "{fatal}");
}

#[tokio::test]
async fn a_database_of_another_node_is_left_alone() {
    let directory = directory();
    Node::start(directory.path()).stop().await;
    let path = database(directory.path());
    let before = fs::read(&path).expect("readable");
    let mut context =
        acp_io_daemon::Context::for_test("cluster", directory.path(), vec![acp_wire_api::cluster::interface()]);
    context.node = "other".parse().expect("valid");
    let run = <acp_cluster::Cluster as acp_io_daemon::Daemon>::run(Config::default(), context);
    let fatal = run.await.expect_err("not ours");
    assert!(matches!(fatal, Fatal::Config(_)), "{fatal:?}");
    assert!(fatal.to_string().contains("belongs to node test, this node is called other"), "{fatal}");
    assert_eq!(fs::read(&path).expect("readable"), before);
}

/// Adds an entry of a kind that a newer version might write.
async fn append_unknown(directory: &Path) {
    let chain = |before: &[u8; 32], bytes: &[u8]| Hash::from_bytes(*before).link(bytes).bytes();
    let (store, recovered) = Store::open(&directory.join("state/cluster"), chain).expect("stopped");
    let index = recovered.last.index + 1;
    // MessagePack of {"index": n, "action": {"type": "from_tomorrow"}}.
    let mut bytes = vec![0x82, 0xa5];
    bytes.extend(b"index");
    bytes.push(u8::try_from(index).expect("small"));
    bytes.push(0xa6);
    bytes.extend(b"action");
    bytes.extend([0x81, 0xa4]);
    bytes.extend(b"type");
    bytes.push(0xad);
    bytes.extend(b"from_tomorrow");
    let hash = chain(&recovered.last.hash, &bytes);
    store.append(vec![Row { index, hash, time_ms: 1, bytes, refused: None }]).await.expect("stored");
}

#[tokio::test]
async fn an_entry_of_a_newer_version_stalls_writes_and_nothing_else() {
    let directory = directory();
    let node = Node::start(directory.path());
    node.create(Kind::System, "a", system()).await.expect("free");
    let before = node.status().await;
    node.stop().await;
    append_unknown(directory.path()).await;
    let node = Node::start(directory.path());
    let status = node.status().await;
    assert_eq!((status.index, &status.hash), (before.index, &before.hash));
    assert!(
        status.stalled.contains("\"from_tomorrow\"") && status.stalled.contains("upgrade ACP"),
        "{}",
        status.stalled
    );
    assert_eq!(node.health(), status.stalled);
    node.get(Kind::System, "a").await.expect("reads go on");
    let refused = node.create(Kind::System, "b", system()).await.expect_err("writes do not");
    assert!(refused.code == Code::Unavailable && refused.message.contains("from_tomorrow"), "{refused}");
    let uid = node.get(Kind::System, "a").await.expect("there").uid;
    let data = Some(json!({"state": "running"}));
    let meta = api::Report { kind: Kind::System, uid, name: None, facet: Facet::Meta, data };
    let publish = api::PublishRequest { incarnation: 1, sequence: 1, reports: vec![meta], replace: false };
    assert!(node.service().call::<api::Publish>(publish).await.expect("slots go on").unknown.is_empty());
    node.stop().await;
}

/// The database refuses what is inserted until somebody says otherwise: any error of a write but a full disk.
fn refuse_inserts(directory: &Path, refuse: bool) {
    let connection = rusqlite::Connection::open(database(directory)).expect("there");
    let sentence = if refuse {
        "CREATE TRIGGER fail BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'the disk fails'); END"
    } else {
        "DROP TRIGGER fail"
    };
    connection.execute_batch(sentence).expect("done");
}

#[tokio::test]
async fn a_write_that_fails_ends_nothing_and_the_next_one_is_tried() {
    let directory = directory();
    let node = Node::start(directory.path());
    node.create(Kind::System, "a", system()).await.expect("free");
    let before = node.status().await;
    refuse_inserts(directory.path(), true);
    for name in ["b", "c"] {
        let failure = node.create(Kind::System, name, system()).await.expect_err("not stored");
        assert_eq!((failure.code, failure.changed), (Code::Unavailable, Change::Unknown), "{failure}");
        assert!(failure.message.contains("cannot store entries: the disk fails"), "{failure}");
        assert!(node.health().contains("the last write to the cluster database failed"), "{}", node.health());
        node.get(Kind::System, "a").await.expect("reads go on");
    }
    refuse_inserts(directory.path(), false);
    let written = node.create(Kind::System, "d", system()).await.expect("tried as if nothing had been");
    assert_eq!(written.index, before.index + 3, "what was ordered is there, and no gap");
    assert_eq!(node.health(), "");
    node.stop().await;
    let node = Node::start(directory.path());
    assert_eq!(node.list(all(Kind::System)).await.expect("listed").len(), 4);
    node.stop().await;
}
