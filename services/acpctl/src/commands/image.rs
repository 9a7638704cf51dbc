//! `acpctl image`.

use std::{fs::File, os::fd::OwnedFd, path::Path};

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
            let (url, source, fds) = open(&from)?;
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

/// An address is fetched by the service; a file is opened here, with the caller's rights, and handed over.
fn open(from: &str) -> Result<Source, Failure> {
    if from.starts_with("http://") || from.starts_with("https://") {
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

fn file_failure(path: &str, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::NotFound,
        std::io::ErrorKind::PermissionDenied => Code::PermissionDenied,
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
    }
}
