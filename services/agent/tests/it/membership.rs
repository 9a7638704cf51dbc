//! Making, joining and leaving a cluster.

use acp_base::Code;
use acp_dev_wait::{seen, wait_for_async};
use acp_io_pki::Fingerprint;
use acp_wire_api::{
    Empty,
    agent::{self as api, JoinClusterRequest, LeaveClusterRequest},
};

use crate::world::{Host, LIMIT, cluster};

#[tokio::test]
async fn nodes_join_through_any_member_and_are_online_and_the_same_after_a_restart() {
    let (n1, mut others) = cluster(&["n2"]).await;
    let n3 = Host::started("n3").await;
    let token = n1.hub.token();
    let hash = Fingerprint::of(b"a secret").to_string();
    let asked = JoinClusterRequest { root_key_hash: Some(hash), ..n3.joining(&others[0], &token) };
    let plan = n3.agent().call::<api::PlanJoin>(asked.clone()).await.expect("a plan");
    assert!(plan.nodes == 2 && plan.clashes.is_empty() && plan.root_key, "{plan:?}");
    assert!(n3.status().await.cluster.is_none(), "a plan changes nothing");
    let joined = n3.agent().call::<api::JoinCluster>(asked.clone()).await.expect("joined through n2");
    assert!(joined.root_key && joined.node.name.as_str() == "n3" && !joined.node.controller, "{joined:?}");
    assert_eq!(n3.agent().call::<api::JoinCluster>(asked).await.expect("the same token"), joined);
    others.push(n3);
    for host in &others {
        let uid = host.uid().await;
        let look = async || if n1.hub.is_watching(uid) { Ok(()) } else { Err("it does not watch") };
        wait_for_async("a node to be online", LIMIT, look).await.expect("it is");
        host.knows(&n1.hub).await;
        let status = host.status().await;
        assert!(status.hub_heard_ms.is_some_and(|heard| heard < 6_000) && status.certificate_until_ms.is_some());
        assert_eq!(status.address, Some(format!("{}:9932", host.ip)));
    }
    let before = others[1].status().await;
    others[1].kill();
    others[1].start().await;
    let after = others[1].status().await;
    assert_eq!(
        (after.node, after.cluster, after.certificate_until_ms),
        (before.node, before.cluster, before.certificate_until_ms)
    );
    let look = async || seen(n1.hub.is_watching(after.node), |is_watching| *is_watching);
    wait_for_async("it to be online again", LIMIT, look).await.expect("it is");
}

#[tokio::test]
async fn a_second_membership_and_bad_tokens_are_refused() {
    let (n1, others) = cluster(&["n2"]).await;
    assert_eq!(n1.init().await.expect_err("twice").code, Code::FailedPrecondition);
    let again = others[0].join(&n1, &n1.hub.token()).await.expect_err("twice");
    assert!(again.code == Code::FailedPrecondition && again.message.contains("c1"), "{again}");
    let alone = Host::started("n4").await;
    let other = Fingerprint::of(b"another").to_string();
    let (good, bad) = (n1.hub.token(), format!("acpt.{other}.{other}"));
    let secret = good.rsplit_once('.').expect("a token").1;
    let unknown = good.replace(secret, &other);
    let cases =
        [(bad.as_str(), Code::PermissionDenied), (&unknown, Code::PermissionDenied), ("acpt.x", Code::InvalidArgument)];
    for (token, code) in cases {
        let refused = alone.join(&n1, token).await.expect_err("no token");
        assert_eq!(refused.code, code, "{refused}");
        assert!(!refused.message.contains(secret), "{refused}");
    }
    let gone = alone.agent().call::<api::LeaveCluster>(LeaveClusterRequest { force: false }).await;
    assert_eq!(gone.expect_err("in none").code, Code::FailedPrecondition);
    assert!(alone.status().await.cluster.is_none());
    alone.join(&n1, &good).await.expect("a refusal leaves nothing behind");
}

#[tokio::test]
async fn whoever_leaves_is_out_at_once_and_comes_back_under_another_id() {
    let (mut n1, others) = cluster(&["n2", "n3"]).await;
    let leave = |force| LeaveClusterRequest { force };
    let last = n1.agent().call::<api::LeaveCluster>(leave(false)).await.expect_err("the last controller");
    assert_eq!(last.code, Code::FailedPrecondition);
    let uid = others[0].uid().await;
    others[0].agent().call::<api::LeaveCluster>(leave(false)).await.expect("left");
    let status = others[0].status().await;
    assert!(status.cluster.is_none() && status.node != uid && status.links.is_empty(), "{status:?}");
    assert!(n1.hub.directory().removed.contains(&uid));
    tokio::net::TcpStream::connect((others[0].ip, 9932)).await.expect_err("the door is closed");
    let joined = others[0].join(&n1, &n1.hub.token()).await.expect("back");
    assert_eq!(
        (joined.node.uid, joined.node.uid != uid),
        (status.node, true),
        "an id that has left is refused for good"
    );
    let uid = joined.node.uid;

    // An operator removes it: it is out as well, and leaving finds that.
    others[0].knows(&n1.hub).await;
    n1.hub.remove(uid);
    n1.knows(&n1.hub).await;
    others[0].agent().call::<api::LeaveCluster>(leave(false)).await.expect("out already");
    // Without the control plane it takes a word.
    n1.kill();
    let brief = others[1].agent();
    let away = brief.call::<api::LeaveCluster>(leave(false)).await.expect_err("nobody was told");
    assert_eq!(away.code, Code::Unavailable, "{away}");
    brief.call::<api::LeaveCluster>(leave(true)).await.expect("forced");
    assert!(others[1].status().await.cluster.is_none());
    assert_eq!(others[1].agent().call::<api::ListMembers>(Empty {}).await.expect("itself").nodes.len(), 1);
}

#[tokio::test]
async fn a_cluster_that_was_made_and_not_kept_is_found_again() {
    let mut n1 = Host::started("n1").await;
    let made = n1.init().await.expect("made");
    // As after a crash between the hub's answer and the agent's record of it.
    n1.kill();
    std::fs::remove_file(n1.directory.path().join("state/agent/member.json")).expect("it was kept");
    n1.start().await;
    assert!(n1.status().await.cluster.is_none());
    assert_eq!(n1.init().await.expect("found").cluster, made.cluster);
}

/// Waits until whoever follows the node is told this of it.
async fn wait_told(told: &mut acp_io_client::Replies<api::WatchNode>, name: &str, withheld: &[&str]) {
    let waiting = async {
        loop {
            let reply = told.next().await.expect("it goes on").expect("it answers");
            let units: Vec<&str> = reply.withheld.iter().map(|unit| unit.as_str()).collect();
            if (reply.name.as_str(), units.as_slice()) == (name, withheld) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("it is told");
}

#[tokio::test]
async fn who_follows_a_node_is_told_its_name_and_what_its_roles_keep_from_it() {
    let (n1, others) = cluster(&["n2"]).await;
    let mut told = others[0].agent().stream::<api::WatchNode>(Empty {}).await.expect("it answers");
    wait_told(&mut told, "n2", &[]).await;
    n1.hub.assign("compute", &["hypervisor", "storage"], &["n1"]);
    wait_told(&mut told, "n2", &["hypervisor", "storage"]).await;
    n1.hub.assign("edge", &["storage", "relay"], &["n2"]);
    wait_told(&mut told, "n2", &["hypervisor"]).await;
    n1.hub.rename("n2", "a2");
    wait_told(&mut told, "a2", &["hypervisor"]).await;
    let uid = others[0].uid().await;
    others[0].agent().call::<api::LeaveCluster>(LeaveClusterRequest { force: false }).await.expect("left");
    wait_told(&mut told, "n2", &[]).await;
    assert!(n1.hub.directory().removed.contains(&uid), "on its own no role counts");
}
