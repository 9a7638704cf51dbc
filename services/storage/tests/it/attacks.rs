//! Files and directories that are not what they seem, and directories that are not the pool's.

use std::{fs, os::unix::fs::symlink};

use acp_base::{ByteSize, Code, Uid};
use acp_storage::worker::Pool;

use crate::rig::{Rig, make_image, volume};

const SIZE: ByteSize = ByteSize::mib(1);

#[tokio::test]
async fn links_are_not_followed() {
    let rig = Rig::start();
    rig.scan().await.expect("prepared");
    let outside = rig.outside("precious.qcow2");
    make_image(&outside);
    symlink(&outside, rig.file("volumes/a.qcow2")).expect("linked");
    symlink("/etc/shadow", rig.file("volumes/b.raw")).expect("linked");
    let info = rig.info(&volume("a")).await.expect("there");
    assert_eq!(info.reason, "it is a symbolic link, which is not followed");
    assert_eq!(rig.info(&volume("b")).await.expect("there").virtual_size_bytes, ByteSize(0));
    assert_eq!(rig.open("a").await.expect_err("refused").code, Code::FailedPrecondition);
    assert_eq!(rig.expand("a", ByteSize::mib(64)).await.expect_err("refused").code, Code::FailedPrecondition);
    assert_eq!(rig.copy("a", "c").await.expect_err("refused").code, Code::FailedPrecondition);
    assert_eq!(rig.create("a", Some(SIZE)).await.expect_err("the name is taken").code, Code::AlreadyExists);
    rig.remove(volume("a")).await.expect("the link goes");
    assert!(outside.exists(), "and what it pointed to stays");
    assert_eq!(rig.files(), ["volumes/b.raw"]);
}

#[tokio::test]
async fn directories_of_the_pool_are_no_links() {
    for name in ["images", "volumes", "staging"] {
        let rig = Rig::start();
        rig.create("a", Some(SIZE)).await.expect("made");
        fs::rename(rig.file(name), rig.outside(name)).expect("moved");
        symlink(rig.outside(name), rig.file(name)).expect("linked");
        let failure = rig.scan().await.expect_err("refused");
        assert!(failure.message.starts_with("cannot open a directory in the pool"), "{failure}");
    }
}

#[tokio::test]
async fn pipes_and_directories_are_no_volumes() {
    let rig = Rig::start();
    rig.scan().await.expect("prepared");
    crate::rig::run("mkfifo", &[&rig.file("volumes/a.raw").display().to_string()]);
    fs::create_dir(rig.file("volumes/b.raw")).expect("made");
    for name in ["a", "b"] {
        assert_eq!(rig.info(&volume(name)).await.expect("there").reason, "it is no regular file");
        assert_eq!(rig.open(name).await.expect_err("refused").code, Code::FailedPrecondition);
    }
}

/// A guest writes a header of its own into its raw disk: the disk stays raw.
#[tokio::test]
async fn a_raw_volume_is_never_taken_for_anything_else() {
    let rig = Rig::start();
    rig.create_as("a", acp_wire_model::image::DiskFormat::Raw, Some(SIZE), None).await.expect("made");
    let path = rig.file("volumes/a.raw");
    let evil = rig.outside("evil").display().to_string();
    crate::rig::run("qemu-img", &["create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", &evil, "1M"]);
    let mut disk = fs::read(&evil).expect("read");
    disk.resize(1 << 20, 0);
    fs::write(&path, &disk).expect("written");
    let info = rig.info(&volume("a")).await.expect("there");
    assert_eq!((info.backing, info.reason.as_str()), (None, ""));
    rig.copy("a", "b").await.expect("copied as raw");
    assert_eq!(fs::read(rig.file("volumes/b.raw")).expect("there"), disk);
}

/// The header of a qcow2 volume is rewritten to point elsewhere.
#[tokio::test]
async fn a_volume_that_points_out_of_its_pool_is_not_opened() {
    let rig = Rig::start();
    rig.create("a", Some(SIZE)).await.expect("made");
    let path = rig.file("volumes/a.qcow2").display().to_string();
    crate::rig::run("qemu-img", &["rebase", "-u", "-f", "qcow2", "-b", "../../precious.raw", "-F", "raw", &path]);
    let info = rig.info(&volume("a")).await.expect("there");
    assert!(info.reason.contains("\"../../precious.raw\" is not allowed"), "{}", info.reason);
    for failure in [
        rig.open("a").await.expect_err("refused"),
        rig.copy("a", "b").await.expect_err("refused"),
        rig.expand("a", ByteSize::mib(2)).await.expect_err("refused"),
    ] {
        assert_eq!(failure.code, Code::FailedPrecondition, "{failure}");
    }
}

#[tokio::test]
async fn two_files_of_one_name_are_not_chosen_between() {
    let rig = Rig::start();
    rig.create("a", Some(SIZE)).await.expect("made");
    fs::write(rig.file("volumes/a.raw"), vec![0; 512]).expect("written");
    let failure = rig.open("a").await.expect_err("refused");
    assert!(failure.message.contains("there are two files of this name"), "{failure}");
}

#[tokio::test]
async fn a_directory_that_is_not_the_pools_is_left_alone() {
    let rig = Rig::start();
    let mut pool = rig.pool.clone();
    fs::create_dir(&pool.path).expect("made");
    fs::write(rig.file("letter.txt"), "dear").expect("written");
    let failure = rig.scan().await.expect_err("refused");
    assert!(failure.message.contains("is not empty (it holds \"letter.txt\")"), "{failure}");
    assert_eq!(fs::read_dir(&pool.path).expect("readable").count(), 1, "nothing was made in it");

    let mut rig = Rig::start();
    rig.create("a", Some(SIZE)).await.expect("made");
    pool = Pool { uid: Uid::from_u128(2), ..rig.pool.clone() };
    rig.restart(pool).await;
    let failure = rig.scan().await.expect_err("another pool's");
    assert!(
        failure.message.contains("belongs to the pool with the uid 00000000-0000-0000-0000-000000000001"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_pool_whose_file_system_is_not_mounted_is_not_made_anew() {
    let mut rig = Rig::start();
    rig.create("a", Some(SIZE)).await.expect("made");
    fs::rename(&rig.pool.path, rig.outside("elsewhere")).expect("moved");
    let failure = rig.scan().await.expect_err("gone");
    assert!(failure.message.contains("does not hold the pool any more: mount its file system"), "{failure}");
    fs::create_dir(&rig.pool.path).expect("an empty mount point");
    assert!(rig.create("a", Some(SIZE)).await.expect_err("not mounted").message.contains("mount its file system"));
    let prepared = Pool { is_prepared: true, ..rig.pool.clone() };
    rig.restart(prepared).await;
    assert!(rig.scan().await.expect_err("not mounted").message.contains("mount its file system"));
    assert_eq!(fs::read_dir(&rig.pool.path).expect("readable").count(), 0, "nothing was made in it");
    fs::remove_dir(&rig.pool.path).expect("empty");
    fs::rename(rig.outside("elsewhere"), &rig.pool.path).expect("mounted again");
    assert_eq!(rig.scan().await.expect("there again").stats.volumes, 1);
}

#[tokio::test]
async fn a_worker_removes_what_its_predecessor_left_unfinished() {
    let mut rig = Rig::start();
    rig.create("a", Some(SIZE)).await.expect("made");
    fs::write(rig.file("staging/half"), "half").expect("written");
    fs::write(rig.file("volumes/readme.txt"), "kept").expect("written");
    rig.restart(rig.pool.clone()).await;
    rig.scan().await.expect("scans");
    assert_eq!(rig.files(), ["volumes/a.qcow2", "volumes/readme.txt"]);
}
