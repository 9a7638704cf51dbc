//! Asking for membership without a token, coming back, and the database's part in both.

use std::time::Duration;

use acp_base::{Code, Failure};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_client::Replies;
use acp_wire_api::{
    agent::{self as api, LeaveClusterRequest, RequestJoin, RequestJoinReply, RequestJoinRequest},
    hub::JoinOutcome,
};

use crate::world::{Host, LIMIT, cluster};

async fn asking(host: &Host, through: &Host, fingerprint: Option<String>, wait: Duration) -> Replies<RequestJoin> {
    let request = RequestJoinRequest {
        member: through.ip.to_string(),
        fingerprint,
        address: Some(host.ip.to_string()),
        root_key_hash: None,
        wait_ms: wait.as_millis().try_into().expect("short"),
    };
    host.agent().stream::<RequestJoin>(request).await.expect("asked")
}

async fn next(replies: &mut Replies<RequestJoin>) -> Result<RequestJoinReply, Failure> {
    tokio::time::timeout(LIMIT, replies.next()).await.expect("in time").expect("a reply")
}

#[tokio::test]
async fn a_node_that_asks_hears_each_outcome_and_becomes_a_member_when_it_is_approved() {
    let (n1, others) = cluster(&["n2"]).await;
    let host = Host::started("n3").await;
    host.database.lock().systems = vec!["web", "mail", "db"];
    let authority = n1.hub.authority().fingerprint().to_string();
    for outcome in [JoinOutcome::Rejected, JoinOutcome::Disabled] {
        n1.hub.decide(None);
        let mut replies = asking(&host, &n1, None, LIMIT).await;
        let waiting = next(&mut replies).await.expect("it waits");
        assert_eq!((waiting.outcome, &waiting.authority), (JoinOutcome::Waiting, &authority), "{waiting:?}");
        n1.hub.decide(Some(outcome));
        assert_eq!(next(&mut replies).await.expect("answered").outcome, outcome);
        assert!(replies.next().await.is_none());
    }
    n1.hub.decide(None);
    let mut replies = asking(&host, &n1, None, Duration::from_millis(300)).await;
    next(&mut replies).await.expect("it waits");
    assert_eq!(next(&mut replies).await.expect("answered").outcome, JoinOutcome::Unanswered);
    assert!(host.status().await.cluster.is_none() && host.database.lock().entered.is_empty());

    // Through a member that is no controller, with the fingerprint known, and over a change of the leader.
    let mut replies = asking(&host, &others[0], Some(authority.clone()), LIMIT).await;
    let waiting = next(&mut replies).await.expect("it waits");
    n1.hub.silence(true);
    let again = next(&mut replies).await.expect("it asks again");
    assert_eq!((again.outcome, again.request), (JoinOutcome::Waiting, waiting.request), "the same request");
    n1.hub.silence(false);
    n1.hub.decide(Some(JoinOutcome::Admitted));
    let admitted = loop {
        let reply = next(&mut replies).await.expect("it goes on");
        if reply.outcome != JoinOutcome::Waiting {
            break reply;
        }
    };
    let joined = admitted.joined.expect("a member");
    assert_eq!((admitted.outcome, joined.node.name.as_str()), (JoinOutcome::Admitted, "n3"));
    assert_eq!(joined.node.fingerprint, waiting.fingerprint, "the operator saw the same");
    assert_eq!(
        n1.hub.brought().last().expect("admitted"),
        &["web", "mail", "db"].map(|name| name.parse().expect("a name"))
    );
    assert_eq!(host.database.lock().entered.len(), 1);
    assert_eq!(host.status().await.node, joined.node.uid);
}

#[tokio::test]
async fn whoever_is_not_there_or_is_somebody_else_is_said_to_be() {
    let (n1, _others) = cluster(&[]).await;
    let (host, nobody) = (Host::started("n3").await, Host::new("n4"));
    let away = next(&mut asking(&host, &nobody, None, LIMIT).await).await.expect_err("nobody listens");
    assert_eq!((away.code, away.message.contains(&nobody.ip.to_string())), (Code::Unavailable, true), "{away}");
    let other = Some("ab".repeat(32));
    let wrong = next(&mut asking(&host, &n1, other, LIMIT).await).await.expect_err("another authority");
    assert_eq!(wrong.code, Code::PermissionDenied, "{wrong}");
    let none = next(&mut asking(&host, &n1, Some("x".to_owned()), LIMIT).await).await.expect_err("no fingerprint");
    assert_eq!(none.code, Code::InvalidArgument, "{none}");
    let long = next(&mut asking(&host, &n1, None, Duration::from_secs(3_601)).await).await.expect_err("too long");
    assert_eq!(long.code, Code::InvalidArgument, "{long}");
    n1.hub.decide(Some(JoinOutcome::Admitted));
    let member = next(&mut asking(&n1, &n1, None, LIMIT).await).await.expect_err("a member already");
    assert_eq!(member.code, Code::FailedPrecondition, "{member}");
}

#[tokio::test]
async fn a_database_that_does_not_enter_is_told_again_until_it_does() {
    let (n1, _others) = cluster(&[]).await;
    let mut host = Host::started("n2").await;
    host.database.lock().refusal = Some(Failure::unavailable("no controller answers"));
    let token = n1.hub.token();
    let half = host.join(&n1, &token).await.expect_err("a member without its database");
    assert!(half.code == Code::Unavailable && half.message.contains("has not entered"), "{half}");
    assert!(host.status().await.cluster.is_some(), "it is one");
    let look = async |host: &Host| seen(host.health(), |health| health.contains("no controller answers"));
    wait_for_async("it to be said", LIMIT, async || look(&host).await).await.expect("it is");
    host.kill();
    host.start().await;
    wait_for_async("it to be said again", LIMIT, async || look(&host).await).await.expect("it is");
    host.database.lock().refusal = None;
    let well = async || seen(host.health(), String::is_empty);
    wait_for_async("the database to enter", LIMIT, well).await.expect("it does");
    host.join(&n1, &token).await.expect("the same token again");
    let entered = host.database.lock().entered.clone();
    let (directory, uid) = (n1.hub.directory(), host.uid().await);
    assert_eq!(entered.len(), 1, "once is enough");
    assert_eq!((entered[0].cluster, entered[0].node), (directory.cluster.uid, uid));
    assert_eq!((entered[0].epoch.as_str(), entered[0].controllers[0].name.as_str()), ("1-aaaa", "n1"));
    host.kill();
    host.start().await;
    assert_eq!(host.database.lock().entered.len(), 1, "nor after a start");
}

#[tokio::test]
async fn a_controller_that_has_not_read_of_a_member_yet_is_asked_again_within_the_same_call() {
    let (n1, _others) = cluster(&[]).await;
    let host = Host::started("n2").await;
    host.database.lock().refusal = Some(Failure::unavailable("it does not accept this node: this node was removed"));
    let token = n1.hub.token();
    let reads = async {
        wait_for_async("the member", LIMIT, async || seen(host.health(), |health| !health.is_empty()))
            .await
            .expect("it is one");
        host.database.lock().refusal = None;
    };
    let (joined, ()) = tokio::join!(host.join(&n1, &token), reads);
    joined.expect("it joins");
    assert_eq!(host.database.lock().entered.len(), 1);
}

#[tokio::test]
async fn a_removed_node_says_so_keeps_everything_and_comes_back_as_itself() {
    let (n1, mut others) = cluster(&["n2"]).await;
    let host = &mut others[0];
    let before = host.uid().await;
    n1.hub.remove(before);
    let said = |health: &String| health.contains("was removed from cluster c1");
    let look = async |host: &Host| seen(host.health(), said);
    wait_for_async("it to be said", LIMIT, async || look(host).await).await.expect("it is");
    host.kill();
    host.start().await;
    wait_for_async("it to be said after a start, too", LIMIT, async || look(host).await).await.expect("it is");
    assert_eq!(host.database.lock().parted, 0, "nothing is taken from it");
    let other = Host::started("n9").await;
    other.init().await.expect("another cluster");
    let foreign = host.agent().call::<api::Rejoin>(host.joining(&other, &other.hub.token())).await;
    assert_eq!(foreign.expect_err("another cluster").code, Code::FailedPrecondition);

    // A member that was left behind in an earlier epoch is none to come back to.
    n1.hub.begin_epoch("0-aaaa");
    let behind = host.agent().call::<api::Rejoin>(host.joining(&n1, &n1.hub.token())).await.expect_err("it is over");
    assert!(behind.code == Code::FailedPrecondition && behind.message.contains("earlier epoch"), "{behind}");
    n1.hub.begin_epoch("2-bbbb");

    let joined = host.agent().call::<api::Rejoin>(host.joining(&n1, &n1.hub.token())).await.expect("back");
    assert_eq!(joined.node.uid, before, "under its id");
    let entered = host.database.lock().entered.len();
    assert_eq!(entered, 2, "its database enters anew");
    let well = async || seen(host.health(), String::is_empty);
    wait_for_async("it to be well", LIMIT, well).await.expect("it is");
    n1.knows(&n1.hub).await;
    host.knows(&n1.hub).await;
    let key = n1.hub.key("ops", acp_wire_api::Scope::Admin, None);
    n1.knows(&n1.hub).await;
    host.knows(&n1.hub).await;
    n1.delete(host, &key, "a").await.expect("it is called");
    host.delete(&n1, &key, "a").await.expect("and calls");
    let alone = Host::started("n8").await;
    let none = alone.agent().call::<api::Rejoin>(alone.joining(&n1, &n1.hub.token())).await;
    assert_eq!(none.expect_err("it is in none").code, Code::FailedPrecondition);
    host.agent().call::<api::LeaveCluster>(LeaveClusterRequest { force: false }).await.expect("left");
    assert!(host.database.lock().parted == 1 && host.uid().await != before);
}
