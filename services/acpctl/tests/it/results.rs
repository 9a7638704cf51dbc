//! What is printed.

use acp_base::Failure;
use acp_io_daemon::Router;
use acp_wire_api::{
    Empty, Method,
    network::{CreateNetwork, CreateNetworkRequest},
};
use serde_json::json;

use crate::node::{Node, system};

#[tokio::test]
async fn a_list_is_an_array_of_objects_and_a_table_and_yaml() {
    let mut node = Node::new();
    node.add_cluster(vec![system(1, "demo", "running"), system(2, "other", "stopped")]);

    let list = node.run("system list -o json").await.json();
    let first = &list[0];
    assert_eq!(
        (&first["name"], &first["status"]["state"], &first["age_ms"]),
        (&json!("demo"), &json!("running"), &json!(1000))
    );
    assert_eq!(first["spec"]["cpus"], 2);
    assert_eq!(list.as_array().map(Vec::len), Some(2));

    let table = node.run("system list").await.success();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        ["NAME", "STATE", "CPUS", "MEMORY", "CPU", "NETWORKS", "ADDRESSES", "NODE", "SINCE", "AGE", "REASON"]
    );
    assert_eq!(lines[1][..8], ["demo", "running", "2", "256MiB", "3%", "default", "10.77.0.5", "n1"]);
    assert!(!table.contains('\u{1b}'), "no colours without a terminal: {table:?}");

    let yaml = node.run("-o yaml system show demo").await.success();
    assert!(yaml.contains("\nname: demo\n") && yaml.contains("\n  memory_bytes: 268435456\n"), "{yaml}");
    let shown = node.run("system show demo").await.success();
    assert!(shown.contains("\n  Memory: 256MiB\n"), "{shown}");
    let shown = node.run("system show demo --output json").await.json();
    assert_eq!(shown["uid"], "00000000-0000-0000-0000-000000000001");
}

#[tokio::test]
async fn what_was_done_is_a_sentence_or_fields() {
    let mut node = Node::new();
    let mut router = Router::new();
    router.once::<CreateNetwork, _, _>(|call| {
        let expected = CreateNetworkRequest {
            name: "lan".parse().expect("a name"),
            address: "10.1.0.1/24".into(),
            dhcp: Some(true),
            nat: Some(false),
        };
        let is_expected = call.request == expected;
        std::future::ready(if is_expected {
            Ok(Empty {})
        } else {
            Err(Failure::invalid(format!("{:?}", call.request)))
        })
    });
    node.add("network", acp_wire_api::network::interface(), &[CreateNetwork::NAME], router);
    let line = "network create lan --address 10.1.0.1/24 --no-nat";
    assert_eq!(node.run(line).await.success(), "network lan is up\n");
    assert_eq!(node.run(&format!("{line} -o json")).await.json(), json!({"name": "lan"}));
}

#[tokio::test]
async fn status_says_who_is_silent_and_fails() {
    let mut node = Node::new();
    node.add_cluster(vec![system(1, "demo", "running")]);
    let run = node.run("status -o json").await;
    assert_eq!(run.status, Some(75), "{run:?}");
    let status: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!((&status["ok"], &status["systems"]), (&json!(false), &json!({"running": 1})));
    let health = |name: &str| {
        let services = status["services"].as_array().expect("services");
        services.iter().find(|service| service["name"] == name).expect(name)["health"].clone()
    };
    assert_eq!((health("cluster"), health("storage")), (json!("ready"), json!("silent")));
    let run = node.run("status").await;
    assert_eq!(run.status, Some(75));
    assert!(run.out.contains("  storage does not answer: storage is not running"), "{}", run.out);
}

#[tokio::test]
async fn help_version_and_completion_need_no_node() {
    let node = Node::new();
    assert!(node.run("--version").await.success().starts_with("acpctl "));
    assert!(node.run("help system create").await.success().contains("--memory"));
    for shell in ["bash", "zsh", "fish"] {
        let script = node.run(&format!("completion {shell}")).await.success();
        for word in ["acpctl", "recover", "readdress", "verify", "consistent", "fingerprint", "floating"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
