//! Importing images, and refusing what is none.

use std::{fs, io::Write, path::Path};

use acp_base::{ByteSize, Code};
use acp_wire_model::image::DiskFormat;

use crate::rig::{Rig, Source, image, image_path, make_image, run};

fn sha256(path: &Path) -> String {
    run("sha256sum", &[path.to_str().expect("UTF-8")]).split(' ').next().expect("a sum").to_owned()
}

#[tokio::test]
async fn images_of_both_formats_are_taken_as_they_are() {
    let rig = Rig::start();
    let qcow2 = rig.outside("a.qcow2");
    make_image(&qcow2);
    let reply =
        rig.import_checked(1, Source::File(&qcow2), Some(sha256(&qcow2).to_uppercase())).await.expect("imported");
    let info = reply.done.expect("done");
    assert_eq!((info.format, info.virtual_size_bytes), (DiskFormat::Qcow2, ByteSize::mib(4)));
    assert_eq!(info.file_bytes.bytes(), fs::metadata(&qcow2).expect("there").len());
    assert_eq!(reply.sha256.expect("a sum"), sha256(&qcow2));
    assert_eq!(sha256(&rig.file(&image_path(1, "qcow2"))), sha256(&qcow2));

    let raw = rig.outside("a.raw");
    let mut disk = vec![0; 3 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[2 << 20] = 1;
    fs::write(&raw, disk).expect("written");
    let info = rig.import(2, Source::File(&raw)).await.expect("imported").done.expect("done");
    assert_eq!((info.format, info.virtual_size_bytes), (DiskFormat::Raw, ByteSize::mib(3)));
    assert_eq!(sha256(&rig.file(&image_path(2, "raw"))), sha256(&raw));
    assert!(info.allocated_bytes < ByteSize::mib(3), "zeros take no space: {info:?}");
    assert_eq!(rig.files(), [image_path(1, "qcow2"), image_path(2, "raw")]);
    assert!(rig.info(&image(1)).await.expect("there").reason.is_empty());
}

#[tokio::test]
async fn a_pipe_is_a_source_too() {
    let rig = Rig::start();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut disk = vec![0; 1 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let feeder = std::thread::spawn(move || writer.write_all(&disk));
    let request = acp_wire_api::worker::ImportRequest { uid: acp_base::Uid::from_u128(1), url: None, sha256: None };
    let import = rig.client().stream_fds::<acp_wire_api::worker::Import>(request, vec![reader.into()]).await;
    let mut replies = import.expect("begun");
    let mut last = None;
    while let Some(reply) = replies.next().await {
        last = Some(reply.expect("imported"));
    }
    feeder.join().expect("feeds").expect("written");
    assert_eq!(last.and_then(|reply| reply.done).expect("done").virtual_size_bytes, ByteSize::mib(1));
}

#[tokio::test]
async fn what_is_no_image_is_refused_and_leaves_nothing() {
    let rig = Rig::start();
    rig.scan().await.expect("prepared");
    let file = rig.outside("source");
    let name = file.to_str().expect("UTF-8").to_owned();
    let base = rig.outside("base.qcow2").display().to_string();
    run("qemu-img", &["create", "-q", "-f", "qcow2", &base, "1M"]);
    let noise: Vec<u8> =
        (0..1_u32 << 16).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0] | 0x80).collect();
    type Make<'a> = Box<dyn Fn() + 'a>;
    let target = &file;
    let write = |bytes: &'static [u8]| -> Make<'_> { Box::new(move || fs::write(target, bytes).expect("written")) };
    let cases: Vec<(&str, Make<'_>)> = vec![
        ("it is empty", write(b"")),
        ("it is an HTML page", write(b"<!DOCTYPE html><html>not found</html>")),
        ("it is a gzip archive; unpack it first", write(&[0x1f, 0x8b, 8, 0, 0])),
        ("it is an ELF program", Box::new(|| assert!(fs::copy("/bin/true", &file).expect("copied") > 0))),
        ("is no disk image: it is not qcow2", Box::new(|| fs::write(&file, &noise).expect("written"))),
        (
            "names a backing file, \"/etc/passwd\"",
            Box::new(|| {
                run("qemu-img", &["create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", &name, "1M"]);
            }),
        ),
        (
            "names a backing file, \"base.qcow2\"",
            Box::new(|| {
                run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", &name]);
            }),
        ),
        (
            "lies in an external data file",
            Box::new(|| {
                let data = format!("data_file={name}.data");
                run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &data, &name, "1M"]);
            }),
        ),
        (
            "the qcow2 image is damaged or cut off: qemu-img check counts",
            Box::new(|| {
                make_image(&file);
                fs::OpenOptions::new().write(true).open(&file).expect("there").set_len(2 << 20).expect("cut");
            }),
        ),
        (
            "its qcow2 header is cut off",
            Box::new(|| {
                make_image(&file);
                fs::OpenOptions::new().write(true).open(&file).expect("there").set_len(50).expect("cut");
            }),
        ),
        (
            "its length of 1000 bytes is no multiple of 512",
            Box::new(|| {
                let mut disk = vec![0; 1000];
                disk[510..512].copy_from_slice(&[0x55, 0xaa]);
                fs::write(&file, disk).expect("written");
            }),
        ),
    ];
    for (expected, make) in cases {
        if file.exists() {
            fs::remove_file(&file).expect("removed");
        }
        make();
        let failure = rig.import(1, Source::File(&file)).await.expect_err(expected);
        assert_eq!(failure.code, Code::InvalidArgument, "{failure}");
        assert!(failure.message.contains(expected), "{failure} should contain {expected}");
        assert!(rig.files().is_empty(), "{expected}: {:?}", rig.files());
    }
}

#[tokio::test]
async fn wrong_sums_and_sources_are_refused_and_leave_nothing() {
    let rig = Rig::start();
    rig.scan().await.expect("prepared");
    let file = rig.outside("a.qcow2");
    make_image(&file);
    let wrong = rig.import_checked(1, Source::File(&file), Some("0".repeat(64))).await.expect_err("wrong");
    assert_eq!(
        wrong.message,
        format!(
            "the file has the SHA-256 {}, not {}: the source is damaged or another one",
            sha256(&file),
            "0".repeat(64)
        )
    );
    let no_sum = rig.import_checked(1, Source::File(&file), Some("abc".into())).await.expect_err("no sum");
    assert_eq!(no_sum.code, Code::InvalidArgument);
    let directory = rig.import(1, Source::File(Path::new("/"))).await.expect_err("a directory");
    assert!(directory.message.contains("Is a directory"), "{directory}");
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn a_source_that_gives_nothing_is_given_up() {
    let rig = Rig::with(acp_storage::worker::WorkerConfig { stall_limit_s: 1, ..crate::rig::config() });
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let request = acp_wire_api::worker::ImportRequest { uid: acp_base::Uid::from_u128(1), url: None, sha256: None };
    let import = rig.client().stream_fds::<acp_wire_api::worker::Import>(request, vec![reader.into()]).await;
    let mut replies = import.expect("begun");
    let failure = loop {
        match replies.next().await.expect("an answer") {
            Ok(reply) => assert!(reply.done.is_none(), "{reply:?}"),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.message, "the source gave no data for 1 s");
    drop(writer);
    assert!(rig.files().is_empty());
}
