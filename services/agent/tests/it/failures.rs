//! Agents that die, drain and come back under calls.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use acp_base::{Change, Code, Retry};
use acp_wire_api::Scope;
use tokio::io::AsyncReadExt as _;

use crate::world::{LIMIT, cluster, delete, wanted};

#[tokio::test]
async fn a_peer_that_dies_in_a_call_leaves_it_unknown_and_is_dialled_again() {
    let (n1, mut others) = cluster(&["n2"]).await;
    let key = n1.hub.key("ops", Scope::Admin, None);
    n1.knows(&n1.hub).await;
    others[0].knows(&n1.hub).await;
    let service = n1.client.on(Some(&others[0].name)).with_key(&key).service("network").deadline(LIMIT);
    let started = Instant::now();
    let (lost, ()) = tokio::join!(delete(&service, "slow"), async {
        others[0].service.began(1).await;
        others[0].kill();
    });
    let lost = lost.expect_err("it was lost");
    assert_eq!((lost.code, lost.changed, lost.retry), (Code::Unavailable, Change::Unknown, Retry::Later), "{lost}");
    assert!(started.elapsed() < LIMIT);
    // Nobody listens: that is said with the address.
    let away = n1.agent().deadline(Duration::from_secs(2));
    let away = away.upgrade::<acp_wire_api::agent::Open>(wanted("network", Some(&others[0]), Some(&key))).await;
    let away = away.expect_err("it is away");
    assert_eq!((away.code, away.changed, away.retry), (Code::Unavailable, Change::None, Retry::Later), "{away}");
    assert!(away.message.contains(&format!("n2 at {}:9932", others[0].ip)), "{away}");
    others[0].start().await;
    delete(&service, "a").await.expect("its successor answers");
    assert_eq!(others[0].service.begun.load(Ordering::SeqCst), 2, "nothing was executed twice");
}

#[tokio::test]
async fn a_drain_waits_for_answers_and_not_for_idle_conversations() {
    let (n1, mut others) = cluster(&["n2"]).await;
    let key = n1.hub.key("ops", Scope::Admin, None);
    n1.knows(&n1.hub).await;
    others[0].knows(&n1.hub).await;
    let service = n1.client.on(Some(&others[0].name)).with_key(&key).service("network").deadline(LIMIT);
    delete(&service, "a").await.expect("an idle conversation is left");
    let mut idle = n1.open(wanted("network", Some(&others[0]), Some(&key))).await.expect("and another");
    let (slow, ()) = tokio::join!(delete(&service, "slow"), async {
        others[0].service.began(2).await;
        others[0].drain();
        // The door is closed from then on, while the call goes on.
        let closed = async || match tokio::net::TcpStream::connect((others[0].ip, 9932)).await {
            Ok(_) => Err("it is open"),
            Err(_) => Ok(()),
        };
        acp_dev_wait::wait_for_async("the door to close", LIMIT, closed).await.expect("closed");
        // The idle one ends soon; the call is not given up as long after that as it took.
        let drained = Instant::now();
        let end = tokio::time::timeout(LIMIT, idle.1.read(&mut [0; 1])).await.expect("it ends with the drain");
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        let until = drained.elapsed() * 2 + Duration::from_millis(300);
        let later = async || if drained.elapsed() >= until { Ok(()) } else { Err("it is too early") };
        acp_dev_wait::wait_for_async("what is cut to be cut", LIMIT, later).await.expect("time passes");
        others[0].service.go.add_permits(1);
    });
    slow.expect("answered");
    others[0].drained().await;
    drop(idle);
    others[0].start().await;
    delete(&service, "b").await.expect("the successor is dialled");
    assert_eq!(others[0].service.done.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_hub_is_waited_for_within_the_deadline() {
    let (mut n1, others) = cluster(&["n2"]).await;
    let n2 = &others[0];
    n1.kill();
    let brief = n2.agent().deadline(Duration::from_millis(1_500));
    let started = Instant::now();
    let absent = brief.upgrade::<acp_wire_api::agent::Open>(wanted("hub", None, None)).await.expect_err("it is away");
    assert_eq!((absent.code, absent.changed), (Code::Unavailable, Change::None), "{absent}");
    assert!(absent.message.contains("hub did not come within"), "{absent}");
    assert!(started.elapsed() >= Duration::from_millis(1_200), "it was waited for");
    let (opened, ()) = tokio::join!(n2.open(wanted("hub", None, None)), n1.start());
    assert_eq!(opened.expect("it came").0.node, "n1");
    // The directory is known without it, and the node says how long that is ago.
    let members = n2.agent().call::<acp_wire_api::agent::ListMembers>(acp_wire_api::Empty {}).await.expect("known");
    assert_eq!(members.nodes.len(), 2);
}
