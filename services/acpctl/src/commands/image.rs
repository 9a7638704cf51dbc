//! `acpctl image`.

use std::{
    fs::File,
    io::{self, BufRead as _, Read as _},
    os::fd::OwnedFd,
    path::Path,
};

use acp_base::{Code, Failure};
use acp_wire_api::storage::{DeleteImage, ImageRequest, ImportImage, ImportImageRequest};
use acp_wire_model::Kind;
use serde_json::json;

use super::list;
use crate::{args::ImageVerb, session::Session, wait};

pub(super) async fn run(session: &mut Session, verb: ImageVerb) -> Result<u8, Failure> {
    match verb {
        ImageVerb::List => list(session, Kind::Image).await,
        ImageVerb::Import { name, from, pool, sha256, wait } => {
            let done = format!("image {name} is imported");
            let (url, source, fds) = if from == STDIN { address_from_stdin()? } else { open(&from)? };
            if !fds.is_empty() && !session.acp().is_direct().await? {
                return Err(not_handed_over(session, &from));
            }
            let request = ImportImageRequest { name, pool, url, source, sha256 };
            let (started, _none) = session.service("storage")?.call_fds::<ImportImage>(request, fds).await?;
            wait::conclude(session, "storage", started, wait.wait, &done).await
        }
        ImageVerb::Delete(image) => {
            let name = image.name;
            session.confirm(&format!("delete image {name}"))?;
            session.call::<DeleteImage>("storage", ImageRequest { name: name.clone() }).await?;
            session.out.done(&format!("image {name} is deleted"), &json!({ "name": name }))?;
            Ok(crate::DONE)
        }
    }
}

type Source = (Option<String>, Option<String>, Vec<OwnedFd>);

/// Instead of an address: it is read from the standard input, so that nobody sees it in the list of processes.
const STDIN: &str = "-";

/// The longest line that is read for an address: beyond the longest that the storage service takes.
const ADDRESS_BYTES_MAX: u64 = 8192;

fn is_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Whether there is a user or a password in front of the host.
fn has_credentials(address: &str) -> bool {
    let rest = address.split_once("://").map_or("", |(_scheme, rest)| rest);
    rest.split(['/', '?', '#', '\\']).next().is_some_and(|authority| authority.contains('@'))
}

/// Reads one line, which has to be an address.
fn address_from_stdin() -> Result<Source, Failure> {
    let mut line = String::new();
    let read = io::stdin().lock().take(ADDRESS_BYTES_MAX).read_line(&mut line);
    read.map_err(|error| Failure::invalid(format!("no address can be read from the standard input: {error}")))?;
    let address = line.trim();
    if is_address(address) {
        return Ok((Some(address.to_owned()), None, Vec::new()));
    }
    Err(Failure::invalid("the first line of the standard input is no address that begins with http:// or https://"))
}

/// An address is fetched by the service; a file is opened here, with the caller's rights, and handed over.
fn open(from: &str) -> Result<Source, Failure> {
    if is_address(from) && has_credentials(from) {
        return Err(Failure::invalid(
            "an address with credentials is seen by everybody in the list of processes: give - instead, and the address on \
             the standard input",
        ));
    }
    if is_address(from) {
        return Ok((Some(from.to_owned()), None, Vec::new()));
    }
    if let Some((scheme, _)) = from.split_once("://") {
        return Err(Failure::invalid(format!(
            "images are fetched by http or https, not by {scheme}: download it first"
        )));
    }
    let path = Path::new(from);
    let file = File::open(path).map_err(|error| file_failure(from, &error))?;
    let metadata = file.metadata().map_err(|error| file_failure(from, &error))?;
    if metadata.is_dir() {
        return Err(Failure::invalid(format!("{from} is a directory, not an image file")));
    }
    let source = std::path::absolute(path).map_or_else(|_| from.to_owned(), |path| path.to_string_lossy().into_owned());
    Ok((None, Some(source), vec![file.into()]))
}

/// An open file goes from process to process of one node, and through no agent.
fn not_handed_over(session: &Session, from: &str) -> Failure {
    match session.acp().node().filter(|_| session.is_elsewhere()) {
        Some(node) => Failure::precondition(format!(
            "the file {from} is on this node and cannot be handed over to {node}: import it there from a copy, or give an \
             address from which {node} can fetch it"
        )),
        None => Failure::precondition(format!(
            "with a key the call goes through the agent, which hands over no file: import {from} without --key-file, as root"
        )),
    }
}

fn file_failure(path: &str, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::PermissionDenied => Code::PermissionDenied,
        _ => Code::InvalidArgument,
    };
    Failure::new(code, format!("cannot open {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_opened_and_addresses_are_passed_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("disk.img");
        std::fs::write(&file, "x").expect("written");
        let name = file.to_str().expect("UTF-8");
        let (url, source, fds) = open(name).expect("opened");
        assert_eq!((url, source.as_deref(), fds.len()), (None, Some(name), 1));
        let (url, source, fds) = open("https://host/disk.img").expect("passed on");
        assert_eq!((url.as_deref(), source, fds.len()), (Some("https://host/disk.img"), None, 0));
        let code = |from: &str| open(from).expect_err(from).code;
        assert_eq!(code("/no/such/file"), Code::NotFound);
        assert_eq!(code(folder.path().to_str().expect("UTF-8")), Code::InvalidArgument);
        assert_eq!(code("ftp://host/disk.img"), Code::InvalidArgument);
        for secret in ["http://me:x@host/a", "https://me@host", "http://me:x@host?y"] {
            let failure = open(secret).expect_err(secret);
            assert!(failure.message.contains("standard input") && !failure.message.contains("me:"), "{failure}");
        }
        assert!(open("http://host/a@b?c=@").is_ok(), "that is no user");
    }
}
