//! A full file system.

use std::{fs, process::Command};

use acp_base::{ByteSize, Code};
use acp_storage::worker::WorkerConfig;
use acp_wire_model::image::DiskFormat;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::rig::{Rig, Source, config, make_image};

#[tokio::test]
async fn the_reserve_is_kept() {
    let rig = Rig::with(WorkerConfig { reserve_bytes: u64::MAX, ..config() });
    let file = rig.outside("a.qcow2");
    make_image(&file);
    assert_eq!(rig.scan().await.expect("scans").stats.free_bytes, 0);
    for failure in [
        rig.create("a", Some(ByteSize::mib(1))).await.expect_err("no space"),
        rig.import(1, Source::File(&file)).await.expect_err("no space"),
    ] {
        assert_eq!(failure.code, Code::ResourceExhausted);
        assert!(failure.message.starts_with("the pool has too little space: 0B can be used"), "{failure}");
    }
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn an_image_above_the_bound_is_refused() {
    let rig = Rig::with(WorkerConfig { image_bytes_max: 1 << 20, ..config() });
    let file = rig.outside("a.qcow2");
    make_image(&file);
    let failure = rig.import(1, Source::File(&file)).await.expect_err("too large");
    assert_eq!(failure.message, "the file is larger than 1MiB, the most that is imported");
    assert!(rig.files().is_empty());
}

/// A small file system of this thread's own mount namespace; the threads it starts for blocking work are in it, too.
fn small_file_system(directory: &std::path::Path) -> Result<(), nix::Error> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    fs::create_dir_all(directory).expect("made");
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("size=8m"))
}

#[tokio::test]
async fn a_file_system_that_fills_up_fails_the_operation_and_nothing_else() {
    let rig = Rig::start();
    if let Err(error) = small_file_system(&rig.pool.path) {
        println!("skipped: a file system cannot be mounted here: {error}");
        return;
    }
    let file = rig.outside("a.raw");
    let mut disk = vec![1; 16 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&file, &disk).expect("written");
    let known_length = rig.import(1, Source::File(&file)).await.expect_err("no space");
    assert_eq!(known_length.code, Code::ResourceExhausted, "{known_length}");
    assert!(known_length.message.contains(" are needed; delete volumes or images"), "{known_length}");

    let mut feeder = Command::new("cat").arg(&file).stdout(std::process::Stdio::piped()).spawn().expect("cat");
    let output = feeder.stdout.take().expect("piped");
    let request = acp_wire_api::worker::ImportRequest { uid: acp_base::Uid::from_u128(1), url: None, sha256: None };
    let import = rig.client().stream_fds::<acp_wire_api::worker::Import>(request, vec![output.into()]).await;
    let mut replies = import.expect("begun");
    let failure = loop {
        match replies.next().await.expect("an answer") {
            Ok(reply) => assert!(reply.done.is_none(), "{reply:?}"),
            Err(failure) => break failure,
        }
    };
    feeder.wait().expect("its own child");
    assert_eq!(failure.code, Code::ResourceExhausted, "{failure}");
    assert!(rig.files().is_empty(), "{:?}", rig.files());

    rig.create_as("a", DiskFormat::Raw, Some(ByteSize::mib(6)), None).await.expect("made");
    fs::write(rig.file("volumes/a.raw"), vec![1; 6 << 20]).expect("filled");
    let copied = rig.copy("a", "b").await.expect_err("no space");
    assert_eq!(copied.code, Code::ResourceExhausted, "{copied}");
    assert_eq!(rig.files(), ["volumes/a.raw"]);
    rig.scan().await.expect("the pool goes on");
}
