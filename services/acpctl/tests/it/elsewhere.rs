//! `--node`, `--key-file`, `--on` and `--trace`: the same verbs on another node.

use std::{os::unix::fs::PermissionsExt as _, process::Stdio};

use acp_base::{Code, Failure};
use acp_dev_nodes::{LIMIT, Nodes};
use acp_io_daemon::Router;
use acp_wire_api::{
    Empty, Method,
    framework::{ReadLog, ReadLogReply},
    hypervisor::{CreateSystem, CreateSystemReply},
    network::{self, DeleteNetwork},
    storage::{self, ImportImage},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    console::add_vmm,
    jobs::add_hypervisor,
    node::{Node, system, system_on, unseen},
};

/// More than one look at a node asks for ways to it.
const REFUSALS: usize = 64;

/// Nodes `n1`, where the program runs, and `n2`, with a cluster service each that has one system.
struct Pair {
    nodes: Nodes,
    here: Node,
    there: Node,
}

impl Pair {
    fn start() -> Self {
        let nodes = Nodes::start();
        let (mut here, mut there) = (Node::of(&nodes, "n1"), Node::of(&nodes, "n2"));
        here.add_cluster(vec![system(7, "near", "running")]);
        there.add_cluster(vec![system_on("n2", 1, "far", "running"), system_on("n2", 2, "off", "stopped")]);
        Self { nodes, here, there }
    }
}

/// Makes a key file.
fn put_key(path: &std::path::Path, mode: u32) -> String {
    let secret = format!("acpk.{}", "5e".repeat(32));
    std::fs::write(path, format!("{secret}\n")).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    secret
}

#[tokio::test]
async fn objects_are_those_of_the_node_that_is_named() {
    let pair = Pair::start();
    for (line, name) in [("system list", "near"), ("--node n2 system list", "far"), ("--node n1 system list", "near")] {
        let listed = pair.here.run(&format!("{line} -o json")).await.json();
        assert_eq!(listed[0]["name"], name, "{line}");
    }
    let shown = pair.here.run("system show far --node n2 -o json").await.json();
    assert_eq!(shown["name"], "far");
    let run = pair.here.run("--node n2 system show near").await;
    assert_eq!((run.status, run.err.as_str()), (Some(2), "error: there is no system \"near\"\n"));
    let status = pair.here.run("status --node n2 -o json").await;
    let status: Value = serde_json::from_str(&status.out).expect("JSON");
    assert_eq!(status["systems"], json!({ "running": 1, "stopped": 1 }), "the far node's");
}

#[tokio::test]
async fn a_node_that_is_away_is_said_with_its_name() {
    let pair = Pair::start();
    let run = pair.here.run("--node n3 --timeout 200ms system list").await;
    assert_eq!((run.status, run.err.as_str()), (Some(75), "error: node n3 cannot be reached\n"));
}

#[tokio::test]
async fn whoever_may_ask_nobody_is_told_so_and_not_that_all_are_silent() {
    let pair = Pair::start();
    let refused = Failure::new(Code::PermissionDenied, "the key was revoked");
    pair.nodes.script().refusals.extend(std::iter::repeat_n(refused, REFUSALS));
    let run = pair.here.run("--node n2 status").await;
    assert_eq!((run.status, run.err.as_str(), run.out.as_str()), (Some(77), "error: the key was revoked\n", ""));
}

#[tokio::test]
async fn roots_key_goes_to_other_nodes_and_another_key_everywhere() {
    let pair = Pair::start();
    let keys = || {
        let mut script = pair.nodes.script();
        script.opens.drain(..).map(|open| (open.node.map(|node| node.to_string()), open.key)).collect::<Vec<_>>()
    };
    let root = put_key(&pair.nodes.root_key(), 0o600);
    for line in ["system list", "--node n1 system list", "--node n2 system list"] {
        pair.here.run(line).await.success();
    }
    assert_eq!(keys(), [(Some("n2".to_owned()), Some(root))]);

    let file = pair.here.folder().join("ci.key");
    let missing = pair.here.run(&format!("--key-file {} system list", file.display())).await;
    assert_eq!(missing.status, Some(2), "{missing:?}");
    let secret = put_key(&file, 0o640);
    let open = pair.here.run(&format!("--key-file {} system list", file.display())).await;
    assert_eq!(open.status, Some(4), "{open:?}");
    assert!(open.err.contains("its mode 0600") && !open.err.contains("5e5e"), "{}", open.err);
    put_key(&file, 0o600);
    pair.nodes.script().hub = "n1".into();
    let output = pair.here.command("system list").env("ACP_KEY_FILE", &file).output();
    assert!(timeout(LIMIT, output).await.expect("it ends").expect("it ran").status.success());
    assert_eq!(keys(), [(None, Some(secret))], "here, too");
}

#[tokio::test]
async fn every_step_of_a_call_is_said() {
    let pair = Pair::start();
    let run = pair.here.run("--node n2 --trace system show far").await;
    let steps: Vec<Vec<&str>> = run.err.lines().map(|line| line.split_whitespace().collect()).collect();
    let of_get = steps.iter().position(|words| words.get(1) == Some(&"acp.cluster.Get")).expect("it is told of");
    let seen: Vec<_> = steps[of_get + 1..].iter().map(|words| words[..words.len() - 2].join(" ")).collect();
    assert_eq!(seen, ["n1 agent link", "n2 cluster link", "n2 cluster answered", "total"], "{}", run.err);
    assert!(steps[of_get + 1..].iter().all(|words| words.last() == Some(&"ms")), "{}", run.err);

    let run = pair.here.run("--trace -o json system show near").await;
    let trace: Value = serde_json::from_str(&run.err).expect("one line of JSON");
    assert_eq!(trace["trace"]["method"], "acp.cluster.Get");
    assert_eq!(trace["trace"]["steps"][0]["how"], "answered");
    assert!(trace["trace"]["total_us"].as_u64() >= trace["trace"]["steps"][0]["took_us"].as_u64(), "{trace}");
    assert_eq!(serde_json::from_str::<Value>(&run.out).expect("JSON")["name"], "near");
}

#[tokio::test]
async fn jobs_are_followed_there_and_advice_names_the_node() {
    let mut pair = Pair::start();
    add_hypervisor(&mut pair.there);
    let said = pair.here.run("--node n2 system start demo").await.success();
    assert!(said.contains("follow it with: acpctl --node n2 job watch "), "{said}");
    assert_eq!(pair.here.run("--node n2 system start demo --wait").await.success(), "system demo is running\n");
    let id = acp_base::Uid::from_u128(1);
    assert_eq!(pair.here.run(&format!("--node n2 job watch {id}")).await.success(), "system-start demo succeeded\n");
}

#[tokio::test]
async fn a_console_there_is_attached_to_again() {
    let mut pair = Pair::start();
    add_vmm(&mut pair.there);
    let mut command = pair.here.command("--node n2 system console far");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("acpctl runs");
    let (mut input, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut seen = String::new();
    for (typed, wanted) in [("ab", "life 0 at 1000\r\nAB"), ("x", "life 1 at 1018\r\n"), ("c", "\nC")] {
        input.write_all(typed.as_bytes()).await.expect("typed");
        let mut chunk = [0; 256];
        while !seen.contains(wanted) {
            let count = timeout(LIMIT, output.read(&mut chunk)).await;
            let count = count.unwrap_or_else(|_elapsed| panic!("never {wanted:?}; last: {seen:?}")).expect("read");
            assert_ne!(count, 0, "it ended: {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    }
    drop(input);
    assert!(timeout(LIMIT, child.wait()).await.expect("it ends").expect("it ran").success());

    let run = pair.here.run("--node n2 system console off").await;
    assert_eq!(run.status, Some(4), "{run:?}");
    assert!(run.err.contains("start it with: acpctl --node n2 system start off"), "{}", run.err);
}

#[tokio::test]
async fn a_log_there_is_followed_to_its_end() {
    let mut pair = Pair::start();
    let mut router = Router::new();
    router.stream::<ReadLog, _, _>(|call, sink| async move {
        assert!(call.request.follow);
        sink.send(ReadLogReply { lines: vec!["one".into()] }).await?;
        Ok(ReadLogReply { lines: vec!["two".into()] })
    });
    pair.there.add("framework", acp_wire_api::framework::interface(), &[ReadLog::NAME], router);
    assert_eq!(pair.here.run("--node n2 service log cluster --follow").await.success(), "one\ntwo\n");
}

#[tokio::test]
async fn what_changes_something_is_done_there_once() {
    let mut pair = Pair::start();
    let mut router = Router::new();
    router.once::<DeleteNetwork, _, _>(|_call| std::future::ready(Ok(Empty {})));
    pair.there.add("network", network::interface(), &[DeleteNetwork::NAME], router);
    assert_eq!(pair.here.run("--node n2 network delete lan --yes").await.success(), "network lan is deleted\n");
    assert_eq!(pair.here.run("--node n2 network delete lan").await.status, Some(64), "it is asked about there, too");
}

#[tokio::test]
async fn files_of_this_node_are_refused_with_what_to_do_instead() {
    let mut pair = Pair::start();
    let mut router = Router::new();
    router
        .once_fds::<ImportImage, _, _>(|call| std::future::ready(Err(Failure::not_found(call.fds.len().to_string()))));
    pair.there.add("storage", storage::interface(), &[ImportImage::NAME], router);
    let file = pair.here.folder().join("disk.img");
    std::fs::write(&file, "x").expect("written");
    let run = pair.here.run(&format!("--node n2 image import i {}", file.display())).await;
    assert_eq!(run.status, Some(4), "{run:?}");
    assert!(
        run.err.contains("is on this node and cannot be handed over to n2: import it there from a copy"),
        "{run:?}"
    );
    let run = pair.here.run("--node n2 image import i http://h/x").await;
    assert_eq!((run.status, run.err.as_str()), (Some(2), "error: 0\n"), "an address is passed on");
    let run = pair.here.run("--node n2 pool create p --path some/where").await;
    assert_eq!(run.status, Some(64));
    assert!(run.err.contains("some/where is a path on the other node"), "{}", run.err);
}

#[tokio::test]
async fn a_system_is_placed_by_creating_it_there() {
    let mut pair = Pair::start();
    let mut router = Router::new();
    router.once::<CreateSystem, _, _>(|call| {
        let number = if call.request.floating { 7 } else { 6 };
        let (uid, job) = (acp_base::Uid::from_u128(5), acp_base::Uid::from_u128(number));
        std::future::ready(Ok(CreateSystemReply { uid, index: 1, job }))
    });
    pair.there.add("hypervisor", acp_wire_api::hypervisor::interface(), &[CreateSystem::NAME], router);
    for line in ["system create s --image i --on n2", "--node n2 system create s --image i --on n2"] {
        let said = pair.here.run(line).await.success();
        assert!(said.contains("acpctl --node n2 job watch "), "{said}");
    }
    let floating = pair.here.run("system create s --image i --on n2 --floating -o json").await.json();
    assert_eq!(floating["job"], json!(acp_base::Uid::from_u128(7)));
    let run = pair.here.run("--node n1 system create s --image i --on n2").await;
    assert_eq!(run.status, Some(64));
    assert!(run.err.contains("--on n2 contradicts --node n1"), "{}", run.err);
}

#[tokio::test]
async fn a_system_is_acted_on_where_it_is_at_home() {
    let nodes = Nodes::start();
    let (mut here, mut there) = (Node::of(&nodes, "n1"), Node::of(&nodes, "n2"));
    here.add_cluster(vec![system(7, "near", "running"), unseen(system_on("n2", 1, "demo", "running"))]);
    there.add_cluster(vec![system_on("n2", 1, "demo", "running")]);
    add_hypervisor(&mut there);
    let said = here.run("system start demo").await.success();
    assert!(said.contains("follow it with: acpctl --node n2 job watch "), "{said}");
    assert_eq!(here.run("system start demo --wait").await.success(), "system demo is running\n");
    let run = here.run("--node n1 --timeout 500ms system start demo").await;
    assert_eq!(run.status, Some(75), "a node that is named is asked: {run:?}");
    assert!(run.err.contains("hypervisor"), "{}", run.err);

    add_vmm(&mut there);
    let mut command = here.command("system console demo");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("acpctl runs");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"abc").await.expect("typed");
    drop(input);
    let output = timeout(LIMIT, child.wait_with_output()).await.expect("it ends").expect("it ran");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "life 0 at 1000\r\nABC");
}

#[tokio::test]
async fn lists_are_the_whole_clusters_and_say_what_is_not_known_here() {
    let nodes = Nodes::start();
    let mut here = Node::of(&nodes, "n1");
    here.add_cluster(vec![unseen(system_on("n2", 1, "far", "running")), system(7, "near", "running")]);
    let run = here.run("system list").await;
    let lines: Vec<Vec<&str>> = run.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        (run.status, lines[1][..2].to_vec(), lines[2][..2].to_vec()),
        (Some(0), vec!["far", "?"], vec!["near", "running"])
    );
    assert_eq!(
        run.err,
        "nothing was heard of the states on other nodes (n2); see: acpctl domain show, acpctl --node n2 system list\n"
    );
    let listed = here.run("system list -o json").await.json();
    assert_eq!((&listed[0]["status"], &listed[0]["spec"]["node"]), (&Value::Null, &json!("n2")));
    let status = here.run("status -o json").await;
    let status: Value = serde_json::from_str(&status.out).expect("JSON");
    assert_eq!(status["systems"], json!({ "running": 1 }), "those of the node alone");
}
