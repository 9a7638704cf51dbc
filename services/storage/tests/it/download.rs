//! Importing from a URL, with a real `curl` and a server of the test's own.

use std::{fs, path::Path, time::Duration};

use acp_base::{ByteSize, Code};
use acp_storage::worker::WorkerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::rig::{Rig, Source, config, make_image};

/// Answers every request with what `answer` makes of its path, until the test ends.
pub(crate) async fn server(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn({
        let listener = listener.into_std().expect("a listener");
        move || {
            listener.set_nonblocking(false).expect("a socket");
            for stream in listener.incoming() {
                serve(stream.expect("a connection"), &answer);
            }
        }
    });
    port
}

fn serve(mut stream: std::net::TcpStream, answer: &impl Fn(&str) -> Vec<u8>) {
    use std::io::{Read, Write};
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    // A client that has seen enough closes early.
    drop(stream.write_all(&answer(path)));
}

pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

fn image_bytes(directory: &Path) -> Vec<u8> {
    let file = directory.join("served.qcow2");
    make_image(&file);
    fs::read(file).expect("there")
}

#[tokio::test]
async fn an_image_is_fetched_over_redirects() {
    let rig = Rig::start();
    let body = image_bytes(&rig.outside(""));
    let length = body.len();
    let port = server(move |path| match path {
        "/start" => redirect("/next"),
        "/next" => redirect("/image?signature=x"),
        _ => ok(&body),
    })
    .await;
    let reply = rig.import(1, Source::Url(format!("http://me:secret@127.0.0.1:{port}/start"))).await.expect("imported");
    let info = reply.done.expect("done");
    assert_eq!((info.virtual_size_bytes, info.file_bytes), (ByteSize::mib(4), ByteSize(length as u64)));
}

#[tokio::test]
async fn what_the_server_does_wrong_is_said_and_leaves_nothing() {
    let rig = Rig::with(WorkerConfig { image_bytes_max: 1 << 20, stall_limit_s: 2, ..config() });
    rig.scan().await.expect("prepared");
    let port = server(|path| match path {
        "/missing" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        "/loop" => redirect("/loop"),
        "/escape" => redirect("file:///etc/passwd"),
        "/page" => ok(b"<html>please log in</html>"),
        "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\nQFI\xfb".to_vec(),
        "/large" => b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\nQFI\xfb".to_vec(),
        _ => {
            let mut endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            endless.resize(4 << 20, 1);
            endless
        }
    })
    .await;
    for (path, code, expected) in [
        ("/missing", Code::Unavailable, "404"),
        ("/loop", Code::Unavailable, "redirect"),
        ("/escape", Code::Unavailable, "rotocol"),
        ("/page", Code::InvalidArgument, "an HTML page"),
        ("/short", Code::Unavailable, "download failed"),
        ("/large", Code::Unavailable, "aximum"),
        ("/endless", Code::ResourceExhausted, "larger than 1MiB"),
    ] {
        let failure = rig.import(1, Source::Url(format!("http://127.0.0.1:{port}{path}"))).await.expect_err(path);
        assert_eq!(failure.code, code, "{path}: {failure}");
        assert!(failure.message.contains(expected), "{path}: {failure} should contain {expected}");
        assert!(rig.files().is_empty(), "{path}: {:?}", rig.files());
    }
    let nobody = rig.import(1, Source::Url("http://127.0.0.1:1/x".into())).await.expect_err("nobody listens");
    assert_eq!(nobody.code, Code::Unavailable, "{nobody}");
    let scheme = rig.import(1, Source::Url("file:///etc/passwd".into())).await.expect_err("no scheme of ours");
    assert_eq!(scheme.code, Code::InvalidArgument, "{scheme}");
}

#[tokio::test]
async fn a_download_that_nobody_waits_for_ends_with_its_curl() {
    let rig = Rig::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let request = acp_wire_api::worker::ImportRequest {
        uid: acp_base::Uid::from_u128(1),
        url: Some(format!("http://user:hidden@127.0.0.1:{port}/x")),
        sha256: None,
    };
    let replies = rig.client().stream::<acp_wire_api::worker::Import>(request).await.expect("begun");
    let (mut peer, _) =
        tokio::time::timeout(Duration::from_secs(10), listener.accept()).await.expect("calls").expect("a peer");
    begin_answer(&mut peer).await;
    let arguments = curl_arguments();
    assert!(!arguments.is_empty() && !arguments.contains("hidden"), "{arguments:?}");
    drop(replies);
    let mut rest = [0; 64];
    let end = tokio::time::timeout(Duration::from_secs(10), peer.read(&mut rest)).await.expect("closes");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    rig.wait_files("staging to be empty", Vec::is_empty).await;
}

async fn begin_answer(peer: &mut TcpStream) {
    let mut request = [0; 1024];
    assert!(peer.read(&mut request).await.expect("a request") > 0);
    peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nQFI\xfb").await.expect("written");
}

/// The arguments of every curl of this machine that this test may have started.
fn curl_arguments() -> String {
    let mut found = String::new();
    for process in fs::read_dir("/proc").expect("mounted").flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if command.starts_with(b"curl\0") {
            found.push_str(&String::from_utf8_lossy(&command));
        }
    }
    found
}
