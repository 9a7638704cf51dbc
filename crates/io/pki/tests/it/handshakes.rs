//! Who is accepted, who is refused, and what is said.

use std::{collections::BTreeSet, time::Duration};

use acp_base::Uid;
use acp_io_pki::{LEEWAY, NodeIdentity, Refusal, Validity, asking, joining, newcomers, renewing};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};

use crate::world::{Cluster, Met, Node, PROTOCOL, meet, moment, now, peers_meet};

const HOUR: i64 = 3_600;
const OURS: u128 = 0xc1;

/// Why the server refused its client.
fn server_refused(met: &Met) -> Option<Refusal> {
    Refusal::of(met.server.as_ref().expect_err("the server accepted"))
}

/// Why the client refused its server.
fn client_refused(met: &Met) -> Option<Refusal> {
    Refusal::of(met.client.as_ref().expect_err("the client accepted"))
}

/// A certificate that begins `from` and counts for `hours`.
fn validity(from: i64, hours: i64) -> Validity {
    let life = Duration::from_secs(u64::try_from(hours * HOUR).expect("positive"));
    Validity { now: moment(from), life }
}

#[tokio::test]
async fn members_know_each_other() {
    let cluster = Cluster::new(OURS);
    let (a, b) = (cluster.node(1), cluster.node(2));
    let met = peers_meet(&a, &b).await;
    let (seen_by_a, seen_by_b) = (met.server.expect("accepted").expect("shown"), met.client.expect("accepted"));
    assert_eq!(seen_by_a.identity, NodeIdentity { cluster: cluster.uid, node: b.uid });
    assert_eq!(seen_by_a.key, b.key.fingerprint());
    assert_eq!(seen_by_b.expect("shown").identity.node, a.uid);
}

#[tokio::test]
async fn each_kind_of_bad_certificate_is_refused_by_both_sides_with_its_reason() {
    let (ours, theirs) = (Cluster::new(OURS), Cluster::new(0xc2));
    // Another authority which claims to be of our cluster.
    let imposter = Cluster::new(OURS);
    let good = ours.node(1);
    let early = i64::try_from(LEEWAY.as_secs()).expect("small") + HOUR;
    let bad: [(&str, Node, Refusal); 5] = [
        ("expired", ours.node_at(2, validity(-49 * HOUR, 48)), Refusal::Expired),
        ("not yet valid", ours.node_at(2, validity(early, 48)), Refusal::Early),
        ("another cluster", theirs.node(2), Refusal::Issuer),
        ("another authority", imposter.node(2), Refusal::Issuer),
        ("revoked", ours.node(3), Refusal::Revoked(Uid::from_u128(3))),
    ];
    good.trust.revoke(BTreeSet::from([Uid::from_u128(3)]));
    for (name, node, reason) in bad {
        // The bad side trusts whom it meets, so that the good side alone decides.
        let lenient = Node { trust: good.trust.clone(), ..node };
        lenient.trust.revoke(BTreeSet::from([Uid::from_u128(3)]));
        let met = peers_meet(&good, &lenient).await;
        assert_eq!(server_refused(&met), Some(reason), "{name} as a client");
        let met = peers_meet(&lenient, &good).await;
        assert_eq!(client_refused(&met), Some(reason), "{name} as a server");
    }
}

#[tokio::test]
async fn our_own_authority_vouches_for_our_cluster_only() {
    // The same key signs for two clusters: only the name in the certificate tells them apart.
    let dir = tempfile::tempdir().expect("a directory");
    let ours = acp_io_pki::Authority::ensure(dir.path(), Uid::from_u128(OURS), now()).expect("made");
    let good = {
        let key = acp_io_pki::NodeKey::generate().expect("a key");
        let certificate = ours.sign(&key.request().expect("made"), Uid::from_u128(1), Validity::of_node(now()));
        let held = acp_io_pki::Held::new(&key, certificate.expect("signed"), ours.certificate()).expect("its key");
        // Trusts the authority, but for another cluster than it signs for.
        let trust = acp_io_pki::Trust::new(Uid::from_u128(0xdd), ours.certificate().clone()).expect("an authority");
        Node { uid: Uid::from_u128(1), key, held, trust }
    };
    let met = peers_meet(&good, &good).await;
    assert_eq!(client_refused(&met), Some(Refusal::Cluster(Uid::from_u128(OURS))));
}

#[tokio::test]
async fn a_member_in_anothers_place_is_not_taken_for_it() {
    let cluster = Cluster::new(OURS);
    let (a, b) = (cluster.node(1), cluster.node(2));
    let met = meet(a.peers().server, b.peers().client, Uid::from_u128(9)).await;
    assert_eq!(client_refused(&met), Some(Refusal::Node(a.uid)));
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate_or_with_a_foreign_one() {
    let cluster = Cluster::new(OURS);
    let good = cluster.node(1);
    let stranger = joining(cluster.authority.fingerprint(), PROTOCOL).expect("configured");
    let met = meet(good.peers().server, stranger, good.uid).await;
    assert_eq!(server_refused(&met), Some(Refusal::NoNode));
}

/// A certificate that names a node of the cluster but is signed by its own key.
#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let cluster = Cluster::new(OURS);
    let good = cluster.node(1);
    let identity = NodeIdentity { cluster: cluster.uid, node: Uid::from_u128(2) };
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().expect("ascii"))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("node.key");
    let key = acp_io_pki::NodeKey::ensure(&path).expect("a key");
    let pair = KeyPair::from_pem(&std::fs::read_to_string(&path).expect("kept")).expect("a key");
    let der = params.self_signed(&pair).expect("signed").der().clone();
    let certificate = acp_io_pki::Certificate::read(der).expect("it names a node");
    let held = acp_io_pki::Held::new(&key, certificate, cluster.authority.certificate()).expect("its key");
    let node = Node { uid: identity.node, key, held, trust: good.trust.clone() };
    assert_eq!(server_refused(&peers_meet(&good, &node).await), Some(Refusal::Issuer));
    assert_eq!(client_refused(&peers_meet(&node, &good).await), Some(Refusal::Issuer));
}

#[tokio::test]
async fn an_expired_certificate_renews_and_does_nothing_else() {
    let cluster = Cluster::new(OURS);
    let signer = cluster.node(1);
    let expired = cluster.node_at(2, validity(-100 * HOUR, 48));
    let renewal = |node: &Node| renewing(&node.trust, &node.held, PROTOCOL).expect("configured");
    let met = meet(renewal(&signer).server, renewal(&expired).client, signer.uid).await;
    let seen = met.server.expect("accepted for renewal").expect("shown");
    assert_eq!((seen.identity.node, seen.key), (expired.uid, expired.key.fingerprint()));
    // The signer's own certificate has to be good even so.
    let met = meet(renewal(&expired).server, renewal(&signer).client, expired.uid).await;
    assert_eq!(client_refused(&met), Some(Refusal::Expired));
    // A removed node does not come back this way.
    signer.trust.revoke(BTreeSet::from([expired.uid]));
    let met = meet(renewal(&signer).server, renewal(&expired).client, signer.uid).await;
    assert_eq!(server_refused(&met), Some(Refusal::Revoked(expired.uid)));
    // One that was signed by a clock that was ahead is exchanged like one that has expired, and does as little.
    let early = cluster.node_at(3, validity(10 * HOUR, 48));
    let met = meet(renewal(&signer).server, renewal(&early).client, signer.uid).await;
    assert_eq!(met.server.expect("accepted for renewal").expect("shown").identity.node, early.uid);
    let met = meet(renewal(&early).server, renewal(&signer).client, early.uid).await;
    assert_eq!(client_refused(&met), Some(Refusal::Early));
}

#[tokio::test]
async fn a_newcomer_finds_the_cluster_of_its_token_and_no_other() {
    let (ours, theirs) = (Cluster::new(OURS), Cluster::new(0xc2));
    let member = ours.node(1);
    let server = newcomers(&member.held, PROTOCOL).expect("configured");
    let right = joining(ours.authority.fingerprint(), PROTOCOL).expect("configured");
    let met = meet(server.clone(), right, member.uid).await;
    assert_eq!(met.client.expect("accepted").expect("shown").identity.cluster, ours.uid);
    assert!(met.server.expect("accepted").is_none(), "a newcomer has no certificate");
    let wrong = joining(theirs.authority.fingerprint(), PROTOCOL).expect("configured");
    assert_eq!(client_refused(&meet(server, wrong, member.uid).await), Some(Refusal::Issuer));
    // Somebody who shows the right authority's certificate and cannot have been signed by it.
    let forged = theirs.node(1);
    let shown = acp_io_pki::Held::new(&forged.key, forged.held.certificate(), ours.authority.certificate());
    let server = newcomers(&shown.expect("its key"), PROTOCOL).expect("configured");
    let right = joining(ours.authority.fingerprint(), PROTOCOL).expect("configured");
    assert_eq!(client_refused(&meet(server.clone(), right, forged.uid).await), Some(Refusal::Issuer));
    // Whoever knows nothing yet is told the truth all the same, or nothing.
    let asks = || asking(PROTOCOL).expect("configured");
    assert_eq!(client_refused(&meet(server, asks(), forged.uid).await), Some(Refusal::Issuer));
    let server = newcomers(&member.held, PROTOCOL).expect("configured");
    let met = meet(server, asks(), member.uid).await;
    assert_eq!(met.client.expect("accepted").expect("shown").identity.cluster, ours.uid);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_the_next_handshake_on() {
    let cluster = Cluster::new(OURS);
    let (a, b) = (cluster.node(1), cluster.node_at(2, validity(-40 * HOUR, 48)));
    let (server, client) = (a.peers().server, b.peers().client);
    let before = meet(server.clone(), client.clone(), a.uid).await.server.expect("accepted").expect("shown");
    assert!(before.renew_at() < now(), "it is past half of its life");
    let fresh = cluster.sign(&b.key, 2, Validity::of_node(now()));
    b.held.replace(&b.key, fresh.clone(), cluster.authority.certificate()).expect("its own key");
    let after = meet(server, client, a.uid).await.server.expect("accepted").expect("shown");
    assert_eq!(after, fresh);
    assert!(after.not_after > before.not_after && after.key == before.key);
}

#[test]
fn a_certificate_is_due_at_half_of_its_life_however_short_that_is() {
    let cluster = Cluster::new(OURS);
    let (a, signed) = (cluster.node(1), now());
    for life in [10, 60, 48 * 3_600] {
        let validity = Validity { now: signed, life: Duration::from_secs(life) };
        assert_eq!(cluster.sign(&a.key, 1, validity).renew_at().as_secs(), signed.as_secs() + life / 2);
    }
}
