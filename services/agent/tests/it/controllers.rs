//! Several controllers: who is asked, who takes over, and which directory counts.

use std::time::{Duration, Instant};

use acp_base::Code;
use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::{Empty, Scope, agent as api, daemon::GetHealth, hub::Directory};

use crate::{
    hub::Hub,
    world::{Host, LIMIT, cluster, wanted},
};

/// `n1`, `n2` and `n3` are controllers, `n4` is none.
async fn three() -> (Vec<Host>, Host) {
    let (n1, mut others) = cluster(&["n2", "n3", "n4"]).await;
    let n4 = others.pop().expect("three of them");
    let mut controllers = vec![n1];
    for mut host in others {
        let uid = host.uid().await;
        controllers[0].hub.promote(&mut host, uid);
        controllers.push(host);
    }
    for host in controllers.iter().chain([&n4]) {
        host.knows(&controllers[0].hub).await;
    }
    (controllers, n4)
}

/// At which of them the node is in session, once it is.
async fn session(controllers: &[Host], node: &Host) -> usize {
    let uid = node.uid().await;
    let look = async || controllers.iter().position(|host| host.hub.is_watching(uid)).ok_or("nowhere");
    wait_for_async("a session", LIMIT, look).await.expect("there is one")
}

async fn is_in_session_with(hub: &Hub, node: &Host) {
    let uid = node.uid().await;
    let look = async || seen(hub.is_watching(uid), |is_watching| *is_watching);
    wait_for_async("a session at this controller", LIMIT, look).await.expect("there is one");
}

#[tokio::test]
async fn the_next_controller_takes_over_within_seconds_and_gives_back() {
    let (mut controllers, n4) = three().await;
    for host in &controllers {
        is_in_session_with(&host.hub, host).await;
        let (own, _io) = host.open(wanted("hub", None, None)).await.expect("its own");
        assert!(own.here && own.node == host.name.as_str(), "{own:?}");
    }
    // Its session moves to where its calls go, once there is a controller that it belongs to.
    let (opened, _io) = n4.open(wanted("hub", None, None)).await.expect("its controller");
    let first = controllers.iter().position(|host| host.name.as_str() == opened.node).expect("one of them");
    is_in_session_with(&controllers[first].hub, &n4).await;
    // A hub that says nothing, whose host is there: nobody is told by a closed connection.
    controllers[first].hub.silence(true);
    let since = Instant::now();
    let uid = n4.uid().await;
    let elsewhere = |index: &usize| *index != first;
    let look = async || {
        let mut at =
            controllers.iter().enumerate().filter(|(_, host)| host.hub.is_watching(uid)).map(|(index, _)| index);
        at.find(elsewhere).ok_or("at none of the others")
    };
    wait_for_async("another session", LIMIT, look).await.expect("one of them takes over");
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    let (opened, _io) = n4.open(wanted("hub", None, None)).await.expect("another controller");
    assert_ne!(opened.node, controllers[first].name.as_str(), "whoever was silent is not asked first");
    controllers[first].hub.silence(false);
    is_in_session_with(&controllers[first].hub, &n4).await;
    // One that is killed is left at once, also by whoever calls it.
    controllers[first].kill();
    let brief = n4.agent().deadline(Duration::from_secs(10));
    let (opened, _io) = brief.upgrade::<api::Open>(wanted("hub", None, None)).await.expect("there are two left");
    assert_ne!(opened.node, controllers[first].name.as_str());
    let uid = n4.uid().await;
    let look = async || {
        let mut others = controllers.iter().enumerate().filter(|(index, _)| *index != first);
        if others.any(|(_, host)| host.hub.is_watching(uid)) { Ok(()) } else { Err("at none of the others") }
    };
    wait_for_async("a session at another one", LIMIT, look).await.expect("there is one");
}

#[tokio::test]
async fn a_hub_that_can_do_nothing_is_left_for_one_that_can() {
    let (controllers, n4) = three().await;
    let first = session(&controllers, &n4).await;
    controllers[first].hub.degrade("there is no leader");
    let uid = n4.uid().await;
    let look = async || seen(controllers[first].hub.is_watching(uid), |is_watching| !is_watching);
    wait_for_async("the session to end", LIMIT, look).await.expect("it does");
    assert_ne!(session(&controllers, &n4).await, first);
    // The other one's first word follows the session by a moment.
    let is_well = async || seen(n4.health(), String::is_empty);
    wait_for_async("the control plane to be heard", LIMIT, is_well).await.expect("by the other one");
}

#[tokio::test]
async fn a_named_hub_is_that_nodes_and_a_controller_reaches_whoever_cannot_be_dialled() {
    let (controllers, n4) = three().await;
    for host in &controllers {
        let (opened, _io) = n4.open(wanted("hub", Some(host), None)).await.expect("that one's");
        assert!(opened.node == host.name.as_str() && !opened.here, "{opened:?}");
        let (own, _io) = host.open(wanted("hub", Some(host), None)).await.expect("its own");
        assert!(own.here, "{own:?}");
    }
    n4.has_links("keyless conversations with hubs to be of the control class", |links| {
        controllers
            .iter()
            .all(|host| links.iter().any(|link| link.class == "control" && link.name == host.name.as_str()))
    })
    .await;
    // Hidden: its address is another one's. Each controller has its link.
    let hidden = Host::started("n5").await;
    let address = Some(crate::world::address().to_string());
    let request = api::JoinClusterRequest { address, ..hidden.joining(&n4, &controllers[0].hub.token()) };
    hidden.agent().call::<api::JoinCluster>(request).await.expect("through a member that is no controller");
    let key = controllers[0].hub.key("ops", Scope::Admin, None);
    for host in controllers.iter().chain([&n4, &hidden]) {
        host.knows(&controllers[0].hub).await;
    }
    for host in &controllers {
        host.has_links("its reverse link", |links| {
            links.iter().any(|link| link.class == "reverse" && link.name == "n5")
        })
        .await;
        let service = host.client.on(Some(&hidden.name)).service("network").deadline(LIMIT);
        service.call::<GetHealth>(Empty {}).await.expect("over the reverse link");
    }
    let mut controllers = controllers;
    n4.delete(&hidden, &key, "a").await.expect("through a controller");
    controllers[0].kill();
    controllers[1].kill();
    let (reply, _io) = n4.open(wanted("network", Some(&hidden), Some(&key))).await.expect("through the last one");
    assert_eq!(reply.hops[0].node, "n3", "{:?}", reply.hops);
    let keyless = n4.agent().deadline(Duration::from_secs(2));
    let keyless = keyless.upgrade::<api::Open>(wanted("network", Some(&hidden), None)).await.expect_err("no key");
    assert_eq!(keyless.code, Code::Unavailable, "{keyless}");
}

async fn has(host: &Host, what: &str, is_wanted: impl Fn(&api::ListMembersReply) -> bool) {
    let list = async || {
        let members = host.agent().call::<api::ListMembers>(Empty {}).await.expect("members");
        seen(members, |members| is_wanted(members))
    };
    wait_for_async(what, LIMIT, list).await.expect("it comes to be so");
}

#[tokio::test]
async fn a_newer_epoch_wins_and_an_older_directory_never_does() {
    let (controllers, mut n4) = three().await;
    let hub = &controllers[0].hub;
    let old = hub.directory();
    hub.begin_epoch("2-bbbb");
    let newer = hub.directory();
    assert!(newer.revision < old.revision, "it counts anew");
    has(&n4, "the newer epoch", |members| members.revision == newer.revision).await;
    // Every hub shows the old one, then one that is older within the epoch: none is taken.
    let mut behind = newer.clone();
    behind.nodes.retain(|member| member.name.as_str() != "n3");
    behind.revision -= 1;
    for shown in [old, behind] {
        for host in &controllers {
            host.hub.show(Some(Directory::clone(&shown)));
        }
        // It is seen that each has shown it, since a session that begins anew is shown it first.
        n4.kill();
        n4.start().await;
        session(&controllers, &n4).await;
        has(&n4, "the newer one still", |members| members.revision == newer.revision && members.nodes.len() == 4).await;
    }
    // Another epoch of the same number is nobody's: it is said, and not heeded.
    let forked = Directory { epoch: "2-cccc".to_owned(), revision: newer.revision + 9, ..newer.clone() };
    for host in &controllers {
        host.hub.show(Some(forked.clone()));
    }
    let look = async || seen(n4.health(), |health| health.contains("another epoch of the same number"));
    wait_for_async("the node to say so", LIMIT, look).await.expect("it does");
    has(&n4, "its own still", |members| members.revision == newer.revision).await;
    for host in &controllers {
        host.hub.show(None);
    }
    hub.key("ops", Scope::Read, None);
    n4.knows(hub).await;
    let look = async || seen(n4.health(), String::is_empty);
    wait_for_async("the node to be well again", LIMIT, look).await.expect("it is");
}

#[tokio::test]
async fn a_new_address_in_the_configuration_is_told() {
    let (n1, mut others) = cluster(&["n2"]).await;
    let elsewhere = crate::world::address();
    others[0].kill();
    others[0].address = Some(elsewhere.to_string());
    others[0].start().await;
    let told = format!("{elsewhere}:9932");
    has(&n1, "the new address", |members| members.nodes.iter().any(|node| node.address == told)).await;
    others[0].knows(&n1.hub).await;
    assert_eq!(others[0].status().await.address, Some(told));
}
