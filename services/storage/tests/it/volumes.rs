//! Volumes: making, finding, chaining, opening, enlarging, copying, removing.

use std::{
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    process::Stdio,
};

use acp_base::{ByteSize, Code};
use acp_dev_wait::{wait_for, wait_for_async};
use acp_wire_model::image::DiskFormat;
use tokio::process::{Child, Command};

use crate::rig::{LIMIT, Rig, Source, image, make_image, run, volume};

const SIZE: ByteSize = ByteSize::mib(8);

#[tokio::test]
async fn a_volume_is_made_once() {
    let rig = Rig::start();
    for (name, format) in [("a", DiskFormat::Qcow2), ("b", DiskFormat::Raw)] {
        let made = rig.create_as(name, format, Some(SIZE), None).await.expect("made");
        assert_eq!((made.format, made.virtual_size_bytes), (format, SIZE));
        let found = rig.create_as(name, format, Some(SIZE), None).await.expect("found");
        assert_eq!(found.identity, made.identity, "the same file");
    }
    assert_eq!(rig.files(), ["volumes/a.qcow2", "volumes/b.raw"]);
    let mode = std::fs::metadata(rig.file("volumes/a.qcow2")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let scan = rig.scan().await.expect("scans");
    assert_eq!((scan.stats.volumes, scan.stats.images), (2, 0));
    let other = rig.create("a", Some(ByteSize::mib(9))).await.expect_err("another size");
    assert_eq!(
        (other.code, other.message.as_str()),
        (Code::AlreadyExists, "volume \"a\" exists already, with a size of 8MiB")
    );
    let other = rig.create_as("a", DiskFormat::Raw, Some(SIZE), None).await.expect_err("another format");
    assert_eq!(other.code, Code::AlreadyExists);
    assert_eq!(rig.files(), ["volumes/a.qcow2", "volumes/b.raw"]);
}

#[tokio::test]
async fn bad_parameters_change_nothing() {
    let rig = Rig::start();
    rig.scan().await.expect("prepared");
    for (name, size) in
        [("a", None), ("a", Some(ByteSize(0))), ("a", Some(ByteSize(513))), ("a", Some(ByteSize(u64::MAX)))]
    {
        assert_eq!(rig.create(name, size).await.expect_err("refused").code, Code::InvalidArgument);
    }
    for name in ["../a", "a/b", "", ".", "..", "-a"] {
        let failure = rig.create(name, Some(SIZE)).await.expect_err("no name");
        assert_eq!(failure.code, Code::InvalidArgument, "{name:?}: {failure}");
        assert_eq!(rig.remove(volume(name)).await.expect_err("no name").code, Code::InvalidArgument);
    }
    assert_eq!(
        rig.create_as("a", DiskFormat::Qcow2, None, Some(image(9))).await.expect_err("none").code,
        Code::NotFound
    );
    let below_itself = rig.create_as("a", DiskFormat::Qcow2, None, Some(volume("a"))).await.expect_err("refused");
    assert_eq!(below_itself.code, Code::FailedPrecondition);
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn of_many_who_make_the_same_volume_all_get_one_and_of_different_ones_one_wins() {
    let rig = Rig::start();
    let same = (0..8).map(|_| rig.create("a", Some(SIZE)));
    let made = futures(same).await;
    let identities: std::collections::BTreeSet<_> =
        made.into_iter().map(|made| made.expect("made or found").identity).collect();
    assert_eq!(identities.len(), 1);
    let different = (1..9).map(|mib| rig.create("b", Some(ByteSize::mib(mib))));
    let made = futures(different).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    assert!(made.into_iter().filter_map(Result::err).all(|failure| failure.code == Code::AlreadyExists));
    assert_eq!(rig.files(), ["volumes/a.qcow2", "volumes/b.qcow2"]);
}

async fn futures<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => {
                done.push(value);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test]
async fn a_linked_clone_lies_above_its_image_and_guards_it() {
    let rig = Rig::start();
    let source = rig.outside("source.qcow2");
    make_image(&source);
    rig.import(1, Source::File(&source)).await.expect("imported");
    let made = rig.create_as("a", DiskFormat::Qcow2, None, Some(image(1))).await.expect("made");
    assert_eq!((made.virtual_size_bytes, made.backing.clone()), (ByteSize::mib(4), Some(image(1))));
    let smaller = rig.create_as("s", DiskFormat::Qcow2, Some(ByteSize::mib(2)), Some(image(1))).await;
    assert!(smaller.expect_err("refused").message.contains("ask for 4MiB or more"));
    rig.create_as("b", DiskFormat::Qcow2, Some(SIZE), Some(volume("a"))).await.expect("made");
    let (layers, fds) = rig.open("b").await.expect("opened");
    assert_eq!(layers.iter().map(|layer| layer.writable).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(fds.len(), 3);
    let refused = rig.open("a").await.expect_err("lies below");
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert_eq!(refused.message, "volume \"a\" is the base of volume \"b\": delete it first");
    assert_eq!(rig.remove(image(1)).await.expect_err("lies below").code, Code::FailedPrecondition);
    assert_eq!(rig.remove(volume("a")).await.expect_err("lies below").code, Code::FailedPrecondition);
    assert_eq!(rig.expand("a", SIZE).await.expect_err("lies below").code, Code::FailedPrecondition);
    drop(fds);
    rig.remove(volume("b")).await.expect("removed");
    rig.remove(volume("a")).await.expect("removed");
    rig.remove(image(1)).await.expect("removed");
    rig.remove(image(1)).await.expect("its absence is no error");
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn a_clone_without_its_base_says_what_is_missing() {
    let rig = Rig::start();
    rig.create("a", Some(SIZE)).await.expect("made");
    rig.create_as("b", DiskFormat::Qcow2, None, Some(volume("a"))).await.expect("made");
    std::fs::remove_file(rig.file("volumes/a.qcow2")).expect("removed behind the worker's back");
    let info = rig.info(&volume("b")).await.expect("there");
    assert_eq!(info.reason, "volume \"b\" cannot be used: the volume \"a\" it is based on is missing");
    assert_eq!(rig.open("b").await.expect_err("missing").message, info.reason);
}

#[tokio::test]
async fn the_chain_is_bounded() {
    let rig = Rig::start();
    rig.create("v0", Some(SIZE)).await.expect("made");
    for depth in 1..acp_core_storeplan::CHAIN_LAYERS_MAX {
        let below = Some(volume(&format!("v{}", depth - 1)));
        rig.create_as(&format!("v{depth}"), DiskFormat::Qcow2, None, below).await.expect("made");
    }
    let last = format!("v{}", acp_core_storeplan::CHAIN_LAYERS_MAX - 1);
    let refused = rig.create_as("more", DiskFormat::Qcow2, None, Some(volume(&last))).await.expect_err("too long");
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert_eq!(rig.open(&last).await.expect("opens").1.len(), acp_core_storeplan::CHAIN_LAYERS_MAX);
}

#[tokio::test]
async fn a_volume_in_use_is_left_alone_until_its_last_descriptor_is_closed() {
    let rig = Rig::start();
    rig.create("a", Some(SIZE)).await.expect("made");
    let (_, fds) = rig.open("a").await.expect("opened");
    let copy = fds[0].try_clone().expect("a copy");
    drop(fds);
    let in_use = "volume \"a\" is in use: stop the system that uses it, or wait until it is copied";
    assert_eq!(rig.open("a").await.expect_err("in use").message, in_use);
    assert_eq!(rig.remove(volume("a")).await.expect_err("in use").message, in_use);
    assert_eq!(rig.copy("a", "b").await.expect_err("in use").message, in_use);
    let expanded = rig.expand("a", ByteSize::mib(16)).await.expect_err("in use");
    assert_eq!((expanded.code, expanded.message.as_str()), (Code::FailedPrecondition, in_use));
    let linked = rig.create_as("b", DiskFormat::Qcow2, None, Some(volume("a"))).await;
    assert_eq!(linked.expect_err("in use").message, in_use);
    assert_eq!(rig.files(), ["volumes/a.qcow2"]);
    drop(copy);
    rig.expand("a", ByteSize::mib(16)).await.expect("free again");
}

/// QEMU accepts the descriptors as they are handed out, holds the volume while it runs, and gives it back.
#[tokio::test]
async fn qemu_runs_on_the_descriptors() {
    let rig = Rig::start();
    rig.create("base", Some(SIZE)).await.expect("made");
    rig.create_as("a", DiskFormat::Qcow2, None, Some(volume("base"))).await.expect("made");
    let (_, fds) = rig.open("a").await.expect("opened");
    let control = rig.outside("qmp.sock");
    let mut qemu = start_qemu(&fds, &control.display().to_string());
    drop(fds);
    wait_for("QEMU to be up", LIMIT, || {
        let end = qemu.try_wait().expect("a child");
        assert_eq!(end, None, "QEMU takes the disk");
        std::os::unix::net::UnixStream::connect(&control)
    })
    .expect("it listens");
    assert_eq!(rig.open("a").await.expect_err("in use").code, Code::FailedPrecondition);
    drop(qemu);
    let free = wait_for_async("the volume to be free", LIMIT, async || rig.open("a").await).await;
    drop(free.expect("QEMU gave it back"));
}

fn start_qemu(fds: &[std::os::fd::OwnedFd], control: &str) -> Child {
    let mut command = Command::new("sh");
    // The shell hands descriptors on that the test marks as inheritable.
    let sets: Vec<String> = fds
        .iter()
        .enumerate()
        .map(|(set, fd)| {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).expect("inheritable");
            format!("-add-fd fd={},set={set}", fd.as_raw_fd())
        })
        .collect();
    let script = format!(
        "exec qemu-system-x86_64 -accel tcg -machine q35 -m 32 -nodefaults -display none -S {} \
         -blockdev driver=file,node-name=f1,filename=/dev/fdset/1,read-only=on \
         -blockdev driver=qcow2,node-name=q1,file=f1,read-only=on \
         -blockdev driver=file,node-name=f0,filename=/dev/fdset/0 \
         -blockdev driver=qcow2,node-name=q0,file=f0,backing=q1 \
         -device virtio-blk-pci,drive=q0 -qmp unix:{control},server=on,wait=off",
        sets.join(" ")
    );
    command.args(["-c", &script]).stdin(Stdio::null()).kill_on_drop(true).spawn().expect("sh")
}

#[tokio::test]
async fn a_volume_grows_and_never_shrinks() {
    let rig = Rig::start();
    for (name, format) in [("a", DiskFormat::Qcow2), ("b", DiskFormat::Raw)] {
        rig.create_as(name, format, Some(SIZE), None).await.expect("made");
        let grown = rig.expand(name, ByteSize::mib(16)).await.expect("grown");
        assert_eq!(grown.virtual_size_bytes, ByteSize::mib(16));
        assert_eq!(rig.expand(name, ByteSize::mib(16)).await.expect("as it is").identity, grown.identity);
        let shrunk = rig.expand(name, SIZE).await.expect_err("refused");
        assert_eq!(shrunk.code, Code::InvalidArgument);
        assert!(shrunk.message.starts_with("a disk is never made smaller"), "{shrunk}");
        assert_eq!(rig.expand(name, ByteSize((16 << 20) + 1)).await.expect_err("odd").code, Code::InvalidArgument);
    }
    assert_eq!(rig.expand("none", SIZE).await.expect_err("none").code, Code::NotFound);
    rig.create_as("c", DiskFormat::Qcow2, None, Some(volume("a"))).await.expect("made");
    rig.create_as("d", DiskFormat::Qcow2, None, Some(volume("c"))).await.expect("made");
    let grown = rig.expand("d", ByteSize::mib(32)).await.expect("a linked clone grows, too");
    assert_eq!((grown.virtual_size_bytes, grown.backing), (ByteSize::mib(32), Some(volume("c"))));
}

#[tokio::test]
async fn a_copy_stands_alone_and_holds_what_its_source_holds() {
    let rig = Rig::start();
    let source = rig.outside("source.qcow2");
    make_image(&source);
    rig.import(1, Source::File(&source)).await.expect("imported");
    rig.create_as("a", DiskFormat::Qcow2, None, Some(image(1))).await.expect("made");
    let copy = rig.copy("a", "b").await.expect("copied");
    assert_eq!((copy.backing, copy.virtual_size_bytes), (None, ByteSize::mib(4)));
    let (one, other) = (source.display().to_string(), rig.file("volumes/b.qcow2").display().to_string());
    run("qemu-img", &["compare", "-f", "qcow2", "-F", "qcow2", &one, &other]);
    assert_eq!(rig.copy("a", "b").await.expect_err("exists").code, Code::AlreadyExists);
    assert_eq!(rig.copy("none", "c").await.expect_err("none").code, Code::NotFound);
    assert_eq!(rig.files().iter().filter(|file| file.starts_with("staging/")).count(), 0);
}

#[tokio::test]
async fn a_copy_that_nobody_waits_for_leaves_nothing() {
    let rig = Rig::start();
    rig.create("a", Some(ByteSize::gib(4))).await.expect("made");
    let path = rig.file("volumes/a.qcow2").display().to_string();
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 7 0 64M", &path]);
    let request = acp_wire_api::worker::CopyRequest { source: volume("a"), target: "b".into() };
    let replies = rig.client().stream::<acp_wire_api::worker::Copy>(request).await.expect("begun");
    let has = |files: &Vec<String>, prefix: &str| files.iter().any(|file| file.starts_with(prefix));
    rig.wait_files("the copy to begin", |files| has(files, "staging/") || has(files, "volumes/b")).await;
    let was_done = rig.files().contains(&"volumes/b.qcow2".to_owned());
    drop(replies);
    rig.wait_files("staging to be empty", |files| !has(files, "staging/")).await;
    let expected: &[&str] = if was_done { &["volumes/a.qcow2", "volumes/b.qcow2"] } else { &["volumes/a.qcow2"] };
    assert_eq!(rig.files(), expected);
}
