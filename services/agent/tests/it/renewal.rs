//! Certificates that change while calls go on.

use std::time::{Duration, Instant};

use acp_dev_wait::wait_for_async;
use acp_wire_api::{Scope, principal::PrincipalKind};

use crate::world::{Host, LIMIT, cluster};

/// A life of which half passes while a test waits, and whose other half is enough for a renewal on a busy machine.
const BRIEF: Duration = Duration::from_secs(10);

async fn until(host: &Host) -> u64 {
    host.status().await.certificate_until_ms.expect("a member")
}

#[tokio::test]
async fn certificates_are_renewed_under_load_and_no_call_fails() {
    let n1 = Host::started("n1").await;
    n1.hub.set_life(BRIEF);
    n1.init().await.expect("made");
    let n2 = Host::started("n2").await;
    n2.join(&n1, &n1.hub.token()).await.expect("joined");
    let key = n1.hub.key("ops", Scope::Admin, None);
    n1.knows(&n1.hub).await;
    n2.knows(&n1.hub).await;
    let before = (until(&n1).await, until(&n2).await);
    let started = Instant::now();
    let mut calls = 0;
    while (until(&n1).await == before.0 || until(&n2).await == before.1) && started.elapsed() < LIMIT {
        n1.delete(&n2, &key, "a").await.expect("there");
        n2.delete(&n1, &key, "a").await.expect("and back");
        calls += 2;
    }
    let after = (until(&n1).await, until(&n2).await);
    let health = (n1.health(), n2.health());
    assert!(after.0 > before.0 && after.1 > before.1, "after {calls} calls: {before:?} {after:?} {health:?}");
    assert!(calls > 10, "{calls} calls are no load");
    // What was renewed is shown: a link that is dialled now is accepted.
    let bulk =
        acp_wire_api::agent::OpenRequest { bulk: true, ..crate::world::wanted("network", Some(&n2), Some(&key)) };
    n1.open(bulk).await.expect("a new connection");
    assert!(!n1.hub.renewals().contains(&PrincipalKind::Renewal));
}

#[tokio::test]
async fn an_expired_certificate_is_renewed_and_a_kept_one_is_shown_after_a_restart() {
    let (n1, mut others) = cluster(&[]).await;
    n1.hub.set_life(Duration::from_secs(2));
    let mut n2 = Host::started("n2").await;
    n2.join(&n1, &n1.hub.token()).await.expect("joined");
    n2.kill();
    let over = n1.hub.directory();
    assert_eq!(over.nodes.len(), 2);
    let joined = Instant::now();
    wait_for_async("the certificate to expire", LIMIT, async || {
        if joined.elapsed() > Duration::from_millis(3_500) { Ok(()) } else { Err("it counts yet") }
    })
    .await
    .expect("time passes");
    n1.hub.set_life(Duration::from_secs(48 * 3600));
    n2.start().await;
    let soon = acp_io_daemon::wall_now().0 + 3_600_000;
    let look = async || if until(&n2).await > soon { Ok(()) } else { Err("it has expired") };
    wait_for_async("renewal", LIMIT, look).await.expect("renewed");
    assert_eq!(n1.hub.renewals().last(), Some(&PrincipalKind::Renewal), "as one that has expired");
    let uid = n2.uid().await;
    let look = async || if n1.hub.is_watching(uid) { Ok(()) } else { Err("it does not watch") };
    wait_for_async("it to be online", LIMIT, look).await.expect("it is");
    let renewed = until(&n2).await;
    n2.kill();
    n2.start().await;
    assert_eq!(until(&n2).await, renewed);
    others.push(n2);
}

#[tokio::test]
async fn a_certificate_of_a_clock_that_was_ahead_is_exchanged_once_that_is_right() {
    let (n1, _others) = cluster(&[]).await;
    n1.hub.set_ahead(Duration::from_secs(24 * 3600));
    let tomorrow = acp_io_daemon::wall_now().0 + 60 * 3_600_000;
    let n2 = Host::started("n2").await;
    n2.join(&n1, &n1.hub.token()).await.expect("joined");
    assert!(until(&n2).await > tomorrow, "it does not count yet");
    n1.hub.set_ahead(Duration::ZERO);
    let look = async || if until(&n2).await < tomorrow { Ok(()) } else { Err("it begins tomorrow") };
    wait_for_async("another certificate", LIMIT, look).await.expect("exchanged");
    assert_eq!(n1.hub.renewals().last(), Some(&PrincipalKind::Renewal), "as one that does not count");
    let uid = n2.uid().await;
    let look = async || if n1.hub.is_watching(uid) { Ok(()) } else { Err("it does not watch") };
    wait_for_async("it to be online", LIMIT, look).await.expect("it is");
}
