//! A node that cannot be dialled.

use acp_base::Code;
use acp_wire_api::{
    Empty, Scope,
    agent::{self as api, JoinClusterRequest},
    daemon::GetHealth,
};

use crate::world::{Host, LIMIT, address, cluster, delete, wanted};

#[tokio::test]
async fn it_is_reached_over_the_link_that_it_has_opened_with_a_key_alone() {
    let (n1, others) = cluster(&["n2"]).await;
    let (n2, hidden) = (&others[0], Host::started("n3").await);
    let nowhere = JoinClusterRequest { address: Some(address().to_string()), ..hidden.joining(&n1, &n1.hub.token()) };
    hidden.agent().call::<api::JoinCluster>(nowhere).await.expect("joined");
    let key = n1.hub.key("ops", Scope::Admin, None);
    n1.has_links("its link", |links| links.iter().any(|link| link.class == "reverse" && link.name == "n3")).await;
    for host in [&n1, n2, &hidden] {
        host.knows(&n1.hub).await;
    }
    // From the control plane's node with its own rights, from another member with a key.
    let from_n1 = n1.client.on(Some(&hidden.name)).service("network").deadline(LIMIT);
    from_n1.call::<GetHealth>(Empty {}).await.expect("nodes ask each other how they are");
    n1.delete(&hidden, &key, "a").await.expect("over the reverse link");
    n2.delete(&hidden, &key, "b").await.expect("through n1");
    let (reply, _io) = n2.open(wanted("network", Some(&hidden), Some(&key))).await.expect("opened");
    let way: Vec<(&str, &str)> = reply.hops.iter().map(|hop| (hop.node.as_str(), hop.how.as_str())).collect();
    assert_eq!(way, [("n1", "link"), ("n3", "relayed"), ("n3", "socket")]);

    let brief = n2.agent().deadline(LIMIT);
    let keyless = brief.upgrade::<api::Open>(wanted("network", Some(&hidden), None)).await.expect_err("no key");
    assert!(keyless.code == Code::Unavailable && keyless.message.contains("with a key alone"), "{keyless}");
    let bulk = api::OpenRequest { bulk: true, ..wanted("network", Some(&hidden), Some(&key)) };
    let bulk = brief.upgrade::<api::Open>(bulk).await.expect_err("bulk is not passed on");
    assert_eq!(bulk.code, Code::Unavailable, "{bulk}");
    let weak = n1.hub.key("weak", Scope::Read, None);
    for host in [&n1, n2, &hidden] {
        host.knows(&n1.hub).await;
    }
    assert_eq!(
        n2.delete(&hidden, &weak, "c").await.expect_err("its rights are the key's").code,
        Code::PermissionDenied
    );
    // The rest of the way ends with the key, too.
    n1.hub.revoke_key("ops");
    n1.knows(&n1.hub).await;
    // On a conversation of its own: the one that stands is being cut, which a call on it may be the first to notice.
    let fresh = acp_io_client::Client::new(n2.directory.path());
    let service = fresh.on(Some(&hidden.name)).with_key(&key).service("network").deadline(LIMIT);
    assert_eq!(delete(&service, "d").await.expect_err("revoked").code, Code::PermissionDenied);
}
