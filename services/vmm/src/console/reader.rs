//! One attached reader: shows the output at its own pace, takes what is typed.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::{Console, INPUT_BYTES_MAX, Piece};
use crate::metrics;

/// Serves a reader from `position` on, until it closes its side, or QEMU has ended and everything is shown.
pub(crate) async fn serve(console: Console, position: u64, io: impl AsyncRead + AsyncWrite) {
    let (input, output) = tokio::io::split(io);
    let inputs = console.inputs();
    tokio::select! {
        () = take_input(input, inputs) => {}
        () = async {
            // A reader that does not read may still have typed: its input decides when it is done.
            if show(&console, position, output).await.is_err() {
                std::future::pending::<()>().await;
            }
        } => {}
    }
}

async fn take_input(mut input: impl AsyncRead + Unpin, inputs: mpsc::Sender<Vec<u8>>) {
    let mut buffer = [0; INPUT_BYTES_MAX];
    while let Ok(count @ 1..) = input.read(&mut buffer).await {
        if inputs.send(buffer[..count].to_vec()).await.is_err() {
            return;
        }
    }
}

async fn show(console: &Console, mut position: u64, mut output: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut progress = console.watch();
    loop {
        let is_over = progress.borrow_and_update().is_over;
        match console.piece(position) {
            Piece::Skip(next) => {
                let skipped = next - position;
                metrics::skipped(skipped);
                output.write_all(notice(skipped).as_bytes()).await?;
                position = next;
            }
            Piece::Bytes(bytes) if !bytes.is_empty() => {
                output.write_all(&bytes).await?;
                position += super::length(bytes.len());
            }
            Piece::Bytes(_) if is_over => return Ok(()),
            Piece::Bytes(_) => {
                if progress.changed().await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn notice(skipped: u64) -> String {
    format!("\r\n[acp: this reader was too slow: {skipped} bytes of output were skipped]\r\n")
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;
    use crate::config::Config;

    fn console(folder: &std::path::Path) -> Console {
        Console::open(folder, &Config { console_ring_bytes: 4096, ..Config::default() }).expect("opened")
    }

    #[tokio::test]
    async fn a_reader_gets_the_backlog_and_then_what_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = fs::File::create(folder.path().join(super::super::log::LOG_NAME)).expect("created");
        log.write_all(b"before ").expect("written");
        let console = console(folder.path());
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let begin = console.beginning(None, Some(4)).position;
        let talk = async {
            let mut seen = [0; 4];
            ours.read_exact(&mut seen).await.expect("the backlog");
            assert_eq!(&seen, b"ore ");
            log.write_all(b"after").expect("written");
            console.read_log().expect("read");
            let mut seen = [0; 5];
            ours.read_exact(&mut seen).await.expect("the news");
            assert_eq!(&seen, b"after");
            console.finish();
            assert_eq!(ours.read(&mut seen).await.expect("the end"), 0);
        };
        tokio::join!(serve(console.clone(), begin, theirs), talk);
    }

    #[tokio::test]
    async fn a_slow_reader_is_skipped_forward_and_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let console = console(folder.path());
        console.received(&[b'x'; 10_000]);
        console.show_waiting();
        console.finish();
        let (mut ours, theirs) = tokio::io::duplex(64);
        let mut seen = String::new();
        let (_, read) = tokio::join!(serve(console, 0, theirs), ours.read_to_string(&mut seen));
        read.expect("text");
        let skipped = 10_000 - 4096 / 2;
        assert_eq!(seen, format!("{}{}", notice(skipped), "x".repeat(4096 / 2)));
    }

    #[tokio::test]
    async fn what_was_typed_before_leaving_arrives() {
        let folder = tempfile::tempdir().expect("a folder");
        let console = console(folder.path());
        let mut typed = console.shared.typed.lock().expect("free").take().expect("nobody feeds");
        let (mut ours, theirs) = tokio::io::duplex(64);
        ours.write_all(b"uname\n").await.expect("room");
        drop(ours);
        serve(console, 0, theirs).await;
        assert_eq!(typed.recv().await.as_deref(), Some(b"uname\n".as_slice()));
    }

    #[tokio::test]
    async fn a_position_that_is_gone_is_told_as_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let console = console(folder.path());
        console.received(&[b'x'; 5000]);
        console.show_waiting();
        let beginning = console.beginning(Some(100), None);
        assert_eq!((beginning.position, beginning.lost_bytes), (904, 804));
        let beginning = console.beginning(Some(9999), None);
        assert_eq!((beginning.position, beginning.lost_bytes), (5000, 0));
        assert_eq!(console.beginning(None, Some(10)).position, 4990);
        assert_eq!(console.beginning(None, Some(1 << 30)).lost_bytes, 0);
    }
}
