//! Keys on disk, and what a signer takes over from a request.

use std::{fs, os::unix::fs::PermissionsExt as _};

use acp_base::Uid;
use acp_io_pki::{Authority, NodeKey, PkiError, Request, Validity};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ED25519, SanType};

use crate::world::now;

const CLUSTER: Uid = Uid::from_u128(0xc1);

#[test]
fn an_authority_stays_the_same_and_its_key_is_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Authority::ensure(dir.path(), CLUSTER, now()).expect("made").fingerprint();
    let again = Authority::ensure(dir.path(), CLUSTER, now()).expect("read").fingerprint();
    assert_eq!(first, again);
    let key = dir.path().join("authority.key");
    assert_eq!(fs::metadata(&key).expect("there").permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("ours");
    let error = Authority::ensure(dir.path(), CLUSTER, now()).expect_err("others can read it");
    assert!(matches!(error, PkiError::Exposed { mode: 0o640, .. }), "{error:?}");
}

#[test]
fn damaged_and_foreign_files_are_refused_and_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    Authority::ensure(dir.path(), CLUSTER, now()).expect("made");
    let error = Authority::ensure(dir.path(), Uid::from_u128(0xc2), now()).expect_err("another cluster's");
    assert!(matches!(error, PkiError::Damaged { .. }), "{error:?}");
    for name in ["authority.crt", "authority.key"] {
        let path = dir.path().join(name);
        let before = fs::read(&path).expect("there");
        fs::write(&path, &before[..before.len() / 2]).expect("ours");
        let error = Authority::ensure(dir.path(), CLUSTER, now()).expect_err("half a file");
        assert!(matches!(&error, PkiError::Damaged { path: named } if *named == path), "{error:?}");
        assert_eq!(fs::read(&path).expect("there").len(), before.len() / 2, "it was overwritten");
        fs::write(&path, before).expect("ours");
    }
    Authority::ensure(dir.path(), CLUSTER, now()).expect("mended");
}

#[test]
fn a_request_cannot_ask_for_anything() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::ensure(dir.path(), CLUSTER, now()).expect("made");
    let mut params = CertificateParams::default();
    let other = format!("acp://{CLUSTER}/node/{}", Uid::from_u128(1));
    params.subject_alt_names = vec![SanType::URI(other.try_into().expect("ascii"))];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let greedy = params.serialize_request(&key).expect("made").der().to_vec();
    let request = Request::read(greedy).expect("a valid request");
    let signed = authority.sign(&request, Uid::from_u128(2), Validity::of_node(now())).expect("signed");
    assert_eq!(signed.identity.node, Uid::from_u128(2));
    let (_, parsed) = x509_parser::parse_x509_certificate(&signed.der).expect("a certificate");
    assert!(!parsed.is_ca(), "it may sign others");
    assert_eq!(signed.key, request.key());
}

#[test]
fn requests_that_do_not_verify_are_refused() {
    let key = NodeKey::generate().expect("a key");
    let good = key.request().expect("made");
    for at in 0..good.der().len() {
        let mut bad = good.der().to_vec();
        bad[at] ^= 1;
        // What names the algorithm a second time is outside the signature; everything that says something is inside.
        match Request::read(bad) {
            Err(PkiError::BadRequest) => {}
            read => assert_eq!(read.expect("refused as a bad request").key(), good.key(), "byte {at} is not covered"),
        }
    }
    for length in 0..good.der().len() {
        Request::read(good.der()[..length].to_vec()).expect_err("cut off");
    }
    let other = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let other = CertificateParams::default().serialize_request(&other).expect("made").der().to_vec();
    Request::read(other).expect_err("another kind of key");
    assert!(!format!("{key:?}").contains("PRIVATE"), "Debug shows the key");
}
