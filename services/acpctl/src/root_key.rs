//! The key of this node's root: made here and kept in a file that root alone reads. The cluster is told its hash.
//!
//! **Invariant**: the file is whole and on the disk before its hash leaves this program, so that a key which counts is never
//! one that nobody has. What root does not own, or others may read, is not taken for it: the directory is the agent's.

use std::{io, path::Path};

use acp_base::{Failure, to_hex};
use acp_client::key_file;
use sha2::{Digest, Sha256};

use crate::private_file::{self, Existing};

/// Two hexadecimal digits each.
const SECRET_BYTES: usize = 32;

/// The hash of root's key: of the one in the file, or of a new one that is put there.
pub(crate) fn ensure(path: &Path) -> Result<String, Failure> {
    if let Some(secret) = key_file::read(path)? {
        return Ok(hash(&secret));
    }
    let secret = generate()?;
    private_file::write(path, format!("{secret}\n").as_bytes(), Existing::Replace)
        .map_err(|error| failure("cannot write root's key to", path, &error))?;
    Ok(hash(&secret))
}

/// What [`ensure`] would answer, or as good as that: nothing is kept.
pub(crate) fn draft(path: &Path) -> Result<String, Failure> {
    key_file::read(path)?.map_or_else(generate, Ok).map(|secret| hash(&secret))
}

/// Forgets root's key, which counts no more; no error if there is none.
pub(crate) fn forget(path: &Path) -> Result<(), Failure> {
    private_file::remove(path).map_err(|error| failure("cannot remove root's key", path, &error))
}

fn generate() -> Result<String, Failure> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)
        .map_err(|error| Failure::internal(format!("the system gives no randomness: {error}")))?;
    Ok(format!("{}{}", key_file::PREFIX, to_hex(&secret)))
}

/// What the cluster knows a key by: the hash of its whole text.
fn hash(secret: &str) -> String {
    to_hex(&Sha256::digest(secret))
}

fn failure(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::precondition(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root.key");
        assert_eq!(draft(&path).expect("drawn").len(), 64);
        assert!(!path.exists(), "a draft is not kept");
        let first = ensure(&path).expect("made");
        assert_eq!(draft(&path).expect("read"), first);
        assert_eq!(ensure(&path).expect("kept"), first);
        let secret = key_file::read(&path).expect("readable").expect("there");
        assert_eq!(hash(&secret), first);
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        forget(&path).expect("removed");
        forget(&path).expect("removing nothing is no error");
        assert_ne!(ensure(&path).expect("made anew"), first, "a new key is another key");
    }

    #[test]
    fn the_hash_is_that_of_the_whole_text() {
        let secret = format!("acpk.{}", "0".repeat(64));
        assert_eq!(hash(&secret), "1343bf980133c32cb01f645659093f16e0ba2dada2cefae92767ae8916005333");
    }

    #[test]
    fn what_others_could_have_put_there_is_refused_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root.key");
        let key = format!("acpk.{}\n", "0".repeat(64));
        let target = folder.path().join("elsewhere");
        fs::write(&target, &key).expect("written");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).expect("set");
        symlink(&target, &path).expect("linked");
        assert!(ensure(&path).is_err(), "a link is followed");
        fs::remove_file(&path).expect("removed");
        for (content, mode) in [(key.as_str(), 0o640), ("", 0o600), ("acpk.77\n", 0o600)] {
            fs::write(&path, content).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            assert!(ensure(&path).is_err(), "{content:?} {mode:o}");
            assert_eq!(fs::read_to_string(&path).expect("kept"), content);
            fs::remove_file(&path).expect("removed");
        }
    }
}
