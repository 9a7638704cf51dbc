//! Logs of units.

use acp_base::Code;
use acp_wire_api::framework::{ReadLog, ReadLogRequest};

use crate::harness::Node;

fn request(name: &str, lines: u32, follow: bool) -> ReadLogRequest {
    ReadLogRequest { name: name.into(), lines, follow }
}

#[tokio::test]
async fn the_end_of_a_log_is_read_and_followed() {
    let Some(node) = Node::start("the_end_of_a_log_is_read_and_followed").await else { return };
    let script =
        "trap 'echo more' HUP; for i in 1 2 3 4 5; do echo line $i; done; echo up; while :; do sleep 0.05; done";
    node.script("script", "l", script).await;
    node.wait_log("script@l", "line 1\nline 2\nline 3\nline 4\nline 5\nup\n").await;
    let framework = node.client.service("framework");
    let reply = framework.call::<ReadLog>(request("script@l", 2, false)).await.expect("it answers");
    assert_eq!(reply.lines, ["line 5", "up"]);
    let mut replies = framework.stream::<ReadLog>(request("script@l", 1, true)).await.expect("it answers");
    assert_eq!(replies.next().await.expect("a reply").expect("good").lines, ["up"]);
    let signal = acp_wire_api::framework::SignalUnitRequest { name: "script@l".into(), signal: "HUP".into() };
    node.call::<acp_wire_api::framework::SignalUnit>(signal).await.expect("signalled");
    assert_eq!(replies.next().await.expect("a reply").expect("good").lines, ["more"]);
    let refused = framework.call::<ReadLog>(request("script@l", 10_001, false)).await.expect_err("too many");
    assert_eq!(refused.code, Code::InvalidArgument);
    let unknown = framework.call::<ReadLog>(request("ghost", 1, false)).await.expect_err("there is none");
    assert_eq!(unknown.code, Code::NotFound);
}
