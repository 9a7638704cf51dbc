//! The authority as a text: what a controller hands to the next one, and what a backup holds. A secret.

use std::{fs, io, path::Path};

use acp_base::Uid;

use crate::{
    Authority, NodeKey, PkiError,
    authority::{CERTIFICATE_FILE, KEY_FILE},
    files,
};

/// Where the key begins, after the certificate.
const KEY_MARK: &str = "-----BEGIN PRIVATE KEY-----";

impl Authority {
    /// The certificate and private key kept in this directory, PEM; none if there is no authority.
    pub fn export(dir: &Path) -> Result<Option<String>, PkiError> {
        let (key, certificate) = (files::read_secret(&dir.join(KEY_FILE))?, files::read(&dir.join(CERTIFICATE_FILE))?);
        Ok(key.zip(certificate).map(|(key, certificate)| format!("{}\n{}", certificate.trim_end(), key)))
    }

    /// Keeps the authority of [`Authority::export`] in this directory. The same again changes nothing; another one that is
    /// there already is not written over.
    pub fn install(dir: &Path, cluster: Uid, text: &str) -> Result<Self, PkiError> {
        let path = dir.join(CERTIFICATE_FILE);
        let damaged = || PkiError::Damaged { path: path.clone() };
        let (certificate, key) = text.split_once(KEY_MARK).ok_or(PkiError::BadCertificate)?;
        let key = format!("{KEY_MARK}{key}");
        NodeKey::parse(&key).ok_or(PkiError::BadCertificate)?;
        let kept = files::read_secret(&dir.join(KEY_FILE))?;
        if kept.is_some_and(|kept| kept.trim() != key.trim()) {
            return Err(damaged());
        }
        files::write_secret(&dir.join(KEY_FILE), &key)?;
        files::write(&path, certificate)?;
        match Self::open(dir, cluster) {
            Ok(Some(authority)) => Ok(authority),
            Ok(None) => Err(PkiError::BadCertificate),
            Err(error) => {
                // What does not fit together is of no use to anybody, and would be in the way of what does.
                Self::remove(dir)?;
                Err(error)
            }
        }
    }

    /// Removes the authority kept in this directory, the key first.
    pub fn remove(dir: &Path) -> Result<(), PkiError> {
        for file in [KEY_FILE, CERTIFICATE_FILE] {
            let path = dir.join(file);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(PkiError::File { doing: "remove", path, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        files::synchronise(dir)
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::UnixTime;

    use super::*;

    const CLUSTER: Uid = Uid::from_u128(0xc1);

    #[test]
    fn what_one_controller_hands_over_signs_at_the_next() {
        let (first, second) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        assert!(Authority::export(first.path()).expect("readable").is_none());
        let made = Authority::ensure(first.path(), CLUSTER, UnixTime::now()).expect("made");
        let text = Authority::export(first.path()).expect("readable").expect("there");
        for _attempt in 0..2 {
            let installed = Authority::install(second.path(), CLUSTER, &text).expect("installed");
            assert_eq!(installed.fingerprint(), made.fingerprint());
        }
        let other = tempfile::tempdir().expect("a directory");
        Authority::ensure(other.path(), CLUSTER, UnixTime::now()).expect("made");
        let foreign = Authority::export(other.path()).expect("readable").expect("there");
        Authority::install(second.path(), CLUSTER, &foreign).expect_err("there is another one");
        let kept = Authority::open(second.path(), CLUSTER).expect("readable").expect("kept");
        assert_eq!(kept.fingerprint(), made.fingerprint());
        Authority::remove(second.path()).expect("removed");
        assert!(Authority::open(second.path(), CLUSTER).expect("readable").is_none());
    }

    #[test]
    fn what_does_not_fit_together_leaves_nothing_behind() {
        let (first, second) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        Authority::ensure(first.path(), CLUSTER, UnixTime::now()).expect("made");
        let text = Authority::export(first.path()).expect("readable").expect("there");
        for (cluster, text) in
            [(Uid::from_u128(0xc2), text.as_str()), (CLUSTER, "nothing"), (CLUSTER, "-----BEGIN PRIVATE KEY-----")]
        {
            Authority::install(second.path(), cluster, text).expect_err("it does not fit");
            assert_eq!(fs::read_dir(second.path()).expect("readable").count(), 0);
        }
    }
}
