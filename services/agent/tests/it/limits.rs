//! As many conversations as there may be, and one more.

use acp_base::{Code, Retry};
use acp_wire_api::Scope;

use crate::world::{LIMIT, cluster, wanted};

#[tokio::test]
async fn one_conversation_too_many_is_told_so_and_the_others_go_on() {
    let (n1, others) = cluster(&["n2"]).await;
    let n2 = &others[0];
    let key = n1.hub.key("ops", Scope::Admin, None);
    n1.knows(&n1.hub).await;
    n2.knows(&n1.hub).await;
    let max = acp_io_link::limits::CONVERSATIONS_MAX;
    let mut open = Vec::new();
    for number in 0..max {
        let opened = n1.open(wanted("network", Some(n2), Some(&key))).await;
        open.push(opened.unwrap_or_else(|failure| panic!("conversation {number}: {failure}")));
    }
    let full = n1.open(wanted("network", Some(n2), Some(&key))).await.expect_err("one more");
    assert_eq!((full.code, full.retry), (Code::ResourceExhausted, Retry::Later));
    assert!(full.message.contains(&max.to_string()), "{full}");
    n2.has_links("all of them", |links| links.iter().any(|link| link.conversations == u64::from(max))).await;
    // What is open goes on, and a place that becomes free is given away.
    drop(open.pop());
    let free = async || n1.open(wanted("network", Some(n2), Some(&key))).await.map_err(|failure| failure.to_string());
    acp_dev_wait::wait_for_async("a free place", LIMIT, free).await.expect("it is found");
    drop(open);
    n2.has_links("none", |links| links.iter().all(|link| link.class != "calls" || link.conversations <= 1)).await;
}
