//! Files that hold the secret of an API key, one line each.
//!
//! **Invariant**: what others could have written or read is not taken for a key, and what a file holds is in no message.

use std::{fs::File, io::Read, os::unix::fs::MetadataExt, path::Path};

use acp_base::{Code, Failure};
use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
};

/// What a key begins with; 64 hexadecimal digits follow.
pub const PREFIX: &str = "acpk.";

const DIGITS: usize = 64;
/// A key file is one line; whatever is longer is none.
const BYTES_MAX: u64 = 1024;
/// Permissions of others, of which a key file has none.
const OTHERS: u32 = 0o077;

/// The secret in the file, or nothing if there is no such file.
///
/// # Errors
/// `PermissionDenied`: the caller may not read it. `FailedPrecondition`: it is a link, belongs to another user, others may
/// read or write it, or it holds no key.
pub fn read(path: &Path) -> Result<Option<String>, Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(unreadable(path, error)),
    };
    let metadata = file.metadata().map_err(|error| broken(path, &error))?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_file() || !is_own || metadata.mode() & OTHERS != 0 {
        let text = format!("{} is no private file: it has to be yours, and its mode 0600", path.display());
        return Err(Failure::precondition(text));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(|error| broken(path, &error))?;
    let secret = text.trim();
    if !is_key(secret) {
        let text = format!("{} holds no key: it is one line, {PREFIX} and {DIGITS} hexadecimal digits", path.display());
        return Err(Failure::precondition(text));
    }
    Ok(Some(secret.to_owned()))
}

fn is_key(text: &str) -> bool {
    let digits = text.strip_prefix(PREFIX).unwrap_or_default();
    digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn unreadable(path: &Path, error: Errno) -> Failure {
    let code =
        if matches!(error, Errno::ACCESS | Errno::PERM) { Code::PermissionDenied } else { Code::FailedPrecondition };
    let reason = if error == Errno::LOOP { "it is a link".to_owned() } else { error.to_string() };
    Failure::new(code, format!("cannot open the key file {}: {reason}", path.display()))
}

fn broken(path: &Path, error: &std::io::Error) -> Failure {
    Failure::precondition(format!("cannot read the key file {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn a_private_file_with_a_key_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        assert_eq!(read(&path), Ok(None));
        let key = format!("{PREFIX}{}", "0f".repeat(32));
        let put = |content: &str, mode: u32| {
            fs::write(&path, content).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            read(&path)
        };
        assert_eq!(put(&format!("{key}\n"), 0o600), Ok(Some(key.clone())));
        assert_eq!(put(&key, 0o400), Ok(Some(key.clone())));
        for (content, mode) in [(key.as_str(), 0o640), (key.as_str(), 0o604), ("acpk.5eed", 0o600), ("", 0o600)] {
            let failure = put(content, mode).expect_err(content);
            assert_eq!(failure.code, Code::FailedPrecondition);
            assert!(!failure.message.contains("5eed") && !failure.message.contains("0f0f"), "{failure}");
        }
        put(&key, 0o600).expect("a key");
        let link = folder.path().join("link");
        symlink(&path, &link).expect("linked");
        assert!(read(&link).expect_err("a link").message.ends_with("it is a link"));
    }
}
