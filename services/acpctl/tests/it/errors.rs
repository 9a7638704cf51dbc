//! What goes wrong, how it is said and with which exit status.

use std::{os::unix::net::UnixListener, sync::Arc};

use acp_base::{Code, Failure};
use acp_io_daemon::Router;
use acp_wire_api::{
    Method,
    hypervisor::{DeleteSystem, StartSystem},
    jobs::Started,
};
use serde_json::{Value, json};

use crate::node::{Counts, Node};

#[tokio::test]
async fn without_a_node_it_is_said_at_once() {
    let node = Node::new();
    for line in ["system list", "event list", "event follow --from 1", "object get system s --at 1", "lease list"] {
        let run = node.run(line).await;
        assert_eq!(run.status, Some(75), "{line}");
        assert!(run.err.starts_with("error: cluster is not running: there is no socket "), "{line}: {}", run.err);
        assert_eq!((run.err.lines().count(), run.out.as_str()), (1, ""), "{line}");
    }
}

#[tokio::test]
async fn every_code_has_its_exit_status_and_its_sentence() {
    let mut node = Node::new();
    let mut router = Router::new();
    // The fake refuses with the code whose number is in the system's name.
    router.once::<StartSystem, _, _>(|call| {
        let number = call.request.name.as_str().trim_start_matches("code").parse::<usize>().expect("a number");
        std::future::ready(Err::<Started, _>(Failure::new(Code::ALL[number], "this is why")))
    });
    node.add("hypervisor", acp_wire_api::hypervisor::interface(), &[StartSystem::NAME], router);
    for (number, code) in Code::ALL.into_iter().enumerate() {
        let run = node.run(&format!("system start code{number}")).await;
        assert_eq!(run.status, Some(i32::from(code.exit_status())), "{code:?}");
        assert_eq!(run.err, "error: this is why\n");
        let run = node.run(&format!("system start code{number} -o json")).await;
        assert_eq!(run.status, Some(i32::from(code.exit_status())), "{code:?}");
        let error: Value = serde_json::from_str(&run.err).expect("JSON");
        assert_eq!((&error["code"], &error["message"]), (&json!(code.name()), &json!("this is why")));
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_64_in_either_form() {
    let node = Node::new();
    let run = node.run("system strat demo").await;
    assert_eq!(run.status, Some(64));
    assert!(run.err.starts_with("error: ") && run.err.contains("'start'"), "{}", run.err);
    let run = node.run("system show ../etc -o json").await;
    assert_eq!(run.status, Some(64));
    let error: Value = serde_json::from_str(&run.err).expect("JSON");
    assert_eq!(error["code"], "InvalidArgument");
    assert!(error["message"].as_str().expect("text").contains("letters, digits, dot"), "{error}");
}

#[tokio::test]
async fn nothing_is_destroyed_without_a_yes() {
    let mut node = Node::new();
    let counts = Counts::default();
    let mut router = Router::new();
    let counted = Arc::clone(&counts);
    router.once::<DeleteSystem, _, _>(move |_call| {
        *counted.lock().expect("no panic").entry("delete").or_default() += 1;
        std::future::ready(Ok(Started { job: None }))
    });
    node.add("hypervisor", acp_wire_api::hypervisor::interface(), &[DeleteSystem::NAME], router);
    for line in [
        "system delete demo",
        "system stop demo",
        "system reset demo",
        "network delete n",
        "image delete i",
        "volume delete default/v",
    ] {
        let run = node.run(line).await;
        assert_eq!(run.status, Some(64), "{line}");
        assert!(run.err.contains("give --yes"), "{line}: {}", run.err);
    }
    assert!(counts.lock().expect("no panic").is_empty());
    assert_eq!(node.run("system delete demo --yes").await.success(), "system demo is deleted\n");
    assert_eq!(counts.lock().expect("no panic").get("delete"), Some(&1));
}

#[tokio::test]
async fn a_daemon_that_hangs_costs_the_time_allowed() {
    let node = Node::new();
    let socket = UnixListener::bind(node.folder().join("hypervisor.sock")).expect("bound");
    let run = node.run("system start demo --timeout 200ms").await;
    drop(socket);
    assert_eq!(run.status, Some(6), "{run:?}");
    assert!(
        run.err.contains("hypervisor did not answer") && run.err.contains("whether it was done is not known"),
        "{}",
        run.err
    );
}
