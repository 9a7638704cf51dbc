//! `curl`, whose configuration comes on its standard input so that no URL stands in a list of processes.

use std::{
    fs::File,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use acp_core_storeplan::Source;
use acp_io_process::{Command, Process};
use rustix::fs::{MemfdFlags, memfd_create};

use super::{WorkerConfig, WorkerError};

const PROGRAM: &str = "curl";

/// How much of the servers' answers is looked at for the length of the file.
const HEADERS_BYTES_MAX: usize = 64 << 10;

/// A download that runs.
#[derive(Debug)]
pub(super) struct Download(Process);

/// What the servers answered so far.
#[derive(Debug)]
pub(super) struct Headers(File);

impl Download {
    /// Starts to fetch a file.
    pub(super) fn start(source: &Source, config: &WorkerConfig) -> Result<(Self, Headers), WorkerError> {
        let made = memfd_create("headers", MemfdFlags::CLOEXEC);
        let headers = File::from(made.map_err(WorkerError::errno("make a file in memory"))?);
        let copy = headers.try_clone().map_err(WorkerError::io("duplicate a descriptor"))?;
        let mut command = Command::new(PROGRAM).time_limit(config.download_limit());
        let number = command.inherit(copy.into());
        // `-q` comes first: it keeps the user's own configuration out.
        let command = command.args(["-q", "-K", "-"]).stdin(options(source, config, number));
        let process = command.start().map_err(|source| WorkerError::Tool { doing: "starting the download", source })?;
        Ok((Self(process), Headers(headers)))
    }

    /// The content, to be read by a thread that blocks, and the rest.
    pub(super) fn into_parts(mut self) -> Result<(OwnedFd, Self), WorkerError> {
        let taken = self.0.take_stdout().map_err(WorkerError::io("read the download"))?;
        let content = taken.ok_or_else(|| WorkerError::Defect("the download has no output".into()))?;
        Ok((content, self))
    }

    /// Waits for the end and says why the file did not come.
    pub(super) async fn finish(self) -> Result<(), WorkerError> {
        let ended = self.0.finish().await;
        let output = ended.map_err(|source| WorkerError::Tool { doing: "the download", source })?;
        if output.status.success() {
            return Ok(());
        }
        let said = output.stderr.strip_prefix("curl: ").unwrap_or(&output.stderr);
        Err(WorkerError::Download(if said.is_empty() { output.status.to_string() } else { said.to_owned() }))
    }
}

fn options(source: &Source, config: &WorkerConfig, headers: i32) -> String {
    format!(
        "{url}proto = \"=http,https\"\nproto-redir = \"=http,https\"\nlocation\nmax-redirs = {redirects}\n\
         connect-timeout = {connect}\nspeed-limit = 1\nspeed-time = {stall}\nmax-filesize = {bytes}\n\
         fail\nsilent\nshow-error\ngloboff\ndump-header = \"/proc/self/fd/{headers}\"\noutput = \"-\"\n",
        url = source.to_curl_config(),
        redirects = config.redirects_max,
        connect = config.connect_limit_s,
        stall = config.stall_limit_s,
        bytes = config.image_bytes_max,
    )
}

impl Headers {
    /// The length of the file, as the last server says. Blocks no longer than memory takes.
    pub(super) fn length(&self) -> Option<u64> {
        let mut bytes = vec![0; HEADERS_BYTES_MAX];
        let count = self.0.read_at(&mut bytes, 0).ok()?;
        content_length(&String::from_utf8_lossy(&bytes[..count]))
    }
}

/// The content length in the last of several answers.
fn content_length(headers: &str) -> Option<u64> {
    let mut length = None;
    for line in headers.lines() {
        if line.starts_with("HTTP/") {
            length = None;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_counts() {
        let redirect = "HTTP/1.1 302 Found\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(content_length(redirect), Some(5));
        assert_eq!(content_length(&format!("{redirect}HTTP/2 200\r\ncontent-length: 77\r\n\r\n")), Some(77));
        assert_eq!(content_length(&format!("{redirect}HTTP/1.1 200 OK\r\n\r\n")), None);
        assert_eq!(content_length("HTTP/1.1 200 OK\r\nContent-Length: -3\r\n"), None);
    }

    #[test]
    fn credentials_stay_out_of_the_arguments() {
        let source = Source::parse("https://me:secret@host/x").expect("a URL");
        let text = options(&source, &WorkerConfig::default(), 7);
        assert!(text.starts_with("url = \"https://me:secret@host/x\"\n"), "{text}");
        assert!(text.contains("\nproto = \"=http,https\"\n"), "{text}");
    }
}
