//! Verbs for the cluster, its nodes, tokens and keys.

mod bench;
mod control;
mod voters;

use std::{os::unix::fs::PermissionsExt, process::Stdio};

use acp_base::Uid;
use acp_wire_api::{Method, agent, hub};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, time::timeout};

use self::bench::{Bench, Cluster, TOKEN};
use crate::{
    console::{terminal, until},
    node::LIMIT,
};

/// The hash of the key that was kept, as anybody can check it.
fn kept_hash(bench: &Bench) -> String {
    use sha2::{Digest, Sha256};
    let text = std::fs::read_to_string(bench.root_key()).expect("kept");
    let secret = text.trim_end();
    assert!(secret.starts_with("acpk.") && secret.len() == 69, "{secret}");
    acp_base::to_hex(&Sha256::digest(secret))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn root_keeps_a_key_before_the_cluster_hears_of_its_hash() {
    let bench = Bench::new(Cluster::None, true);
    let run = bench.run("cluster init lab --address 10.0.0.1").await;
    assert_eq!(
        (run.status, run.out.as_str()),
        (Some(0), "node n1 at 10.0.0.1:9932 is the first of cluster lab\n"),
        "{run:?}"
    );
    let heard = bench.heard.take();
    let expected = json!({ "name": "lab", "address": "10.0.0.1" });
    if !is_root() {
        assert_eq!(heard, [(agent::InitCluster::NAME, expected)]);
        return;
    }
    let hash = kept_hash(&bench);
    assert_eq!(heard[0].1, json!({ "name": "lab", "address": "10.0.0.1", "root_key_hash": hash }));
    let mode = std::fs::metadata(bench.root_key()).expect("kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let run = bench.run_fed("node join 10.0.0.1 --token-file - -o json", &format!("{TOKEN}\n")).await;
    assert_eq!(run.json()["cluster"]["name"], "lab");
    let expected = json!({ "member": "10.0.0.1", "token": TOKEN, "root_key_hash": hash });
    assert_eq!(bench.heard.take(), [(agent::JoinCluster::NAME, expected)], "the key that is there is used again");
}

#[tokio::test]
async fn a_key_that_the_cluster_does_not_take_is_not_kept() {
    let bench = Bench::new(Cluster::None, false);
    let run = bench.run(&format!("node join 10.0.0.1 --token {TOKEN} --address 10.0.0.2:1")).await;
    assert_eq!((run.status, run.out.as_str()), (Some(0), "node n1 at 10.0.0.1:9932 is a member of cluster lab\n"));
    assert!(run.err.contains("root of this node has no rights on the others"), "{}", run.err);
    assert!(!bench.root_key().exists());
}

#[tokio::test]
async fn a_node_in_a_cluster_enters_no_other_and_makes_no_key() {
    let bench = Bench::new(Cluster::Here, true);
    for line in ["cluster init other".to_owned(), format!("node join 10.0.0.1 --token {TOKEN}")] {
        let run = bench.run(&line).await;
        assert_eq!(run.status, Some(4), "{run:?}");
        assert!(run.err.contains("node n1 is in cluster lab already"), "{}", run.err);
    }
    assert_eq!(bench.heard.take(), []);
    assert!(!bench.root_key().exists());
}

#[tokio::test]
async fn a_token_comes_from_a_file_or_the_environment_and_is_never_said() {
    let bench = Bench::new(Cluster::None, true);
    let file = bench.node.folder().join("token");
    std::fs::write(&file, format!("  {TOKEN}  \nmore\n")).expect("written");
    let run = bench.run(&format!("node join 10.0.0.1 --token-file {}", file.display())).await;
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(bench.heard.take()[0].1["token"], TOKEN);

    let run = timeout(LIMIT, bench.node.command("node join 10.0.0.1").env("ACP_TOKEN", TOKEN).output());
    assert!(run.await.expect("acpctl ends").expect("acpctl ran").status.success());
    assert_eq!(bench.heard.take()[0].1["token"], TOKEN);

    for line in ["node join 10.0.0.1 --plan", "node rejoin 10.0.0.1"] {
        let run = bench.run(line).await;
        assert_eq!(run.status, Some(64), "{line}");
        assert!(run.err.contains("--token-file"), "{}", run.err);
    }
    let run = bench.run("node join 10.0.0.1 --token acpk.secret").await;
    assert_eq!(run.status, Some(64));
    assert!(run.err.contains("this is no token") && !run.err.contains("acpk.secret"), "{}", run.err);
    let run = bench.run("node join 10.0.0.1 --token-file /nowhere/at/all").await;
    assert!(run.err.contains("/nowhere/at/all"), "{}", run.err);
    assert_eq!(bench.heard.take(), []);
}

#[tokio::test]
async fn a_token_is_asked_for_on_a_terminal_and_not_shown() {
    let bench = Bench::new(Cluster::None, true);
    for (keys, status) in [(format!("{TOKEN}x\x7f\r"), 0), ("acpt.\x03".to_owned(), 8)] {
        let (mut screen, theirs) = terminal();
        let stream = || Stdio::from(theirs.try_clone().expect("cloned"));
        let mut command = bench.node.command("node join 10.0.0.1 --token-file -");
        let mut child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("acpctl runs");
        let mut seen = String::new();
        until(&mut screen, &mut seen, "Token: ").await;
        screen.write_all(keys.as_bytes()).await.expect("typed");
        until(&mut screen, &mut seen, if status == 0 { "is a member of cluster lab" } else { "nothing was changed" })
            .await;
        assert!(!seen.contains("acpt"), "{seen:?}");
        let ended = timeout(LIMIT, child.wait()).await.expect("it ends").expect("it ran");
        assert_eq!(ended.code(), Some(status), "{seen:?}");
    }
    let heard = bench.heard.take();
    assert_eq!((heard.len(), &heard[0].1["token"]), (1, &json!(TOKEN)));
}

#[tokio::test]
async fn a_plan_says_first_what_stands_against_it() {
    let bench = Bench::new(Cluster::None, true);
    let run = bench.run(&format!("node join 10.0.0.1 --plan --token {TOKEN}")).await.success();
    assert!(run.starts_with("this node can join cluster lab (") && run.contains(") of 3 nodes\n"), "{run}");
    let clashing = format!("node join 10.0.0.1 --plan --token {TOKEN} --address 10.0.0.2");
    let run = bench.run(&clashing).await;
    assert_eq!(run.status, Some(4));
    assert!(run.out.starts_with("cannot join: n1 is taken\nthis node would join cluster lab"), "{}", run.out);
    let run = bench.run(&format!("{clashing} -o json")).await;
    let plan: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!((run.status, &plan["clashes"]), (Some(4), &json!(["n1 is taken"])));
    assert!(!bench.root_key().exists(), "a plan changes nothing");
    let hashes = bench.heard.take().into_iter().map(|(_plan, request)| request["root_key_hash"].is_string());
    assert_eq!(hashes.collect::<Vec<_>>(), [is_root(); 3], "whether root would get a key is part of the plan");
}

#[tokio::test]
async fn leaving_and_removing_are_asked_about() {
    let bench = Bench::new(Cluster::Here, true);
    std::fs::write(bench.root_key(), "acpk.").expect("written");
    for line in ["node leave", "node leave --force", "node remove n2"] {
        let run = bench.run(line).await;
        assert_eq!(run.status, Some(64), "{line}");
        assert!(run.err.contains("give --yes"), "{line}: {}", run.err);
    }
    assert_eq!(bench.heard.take(), []);
    assert_eq!(bench.run("node remove n2 -y").await.success(), "node n2 is removed\n");
    assert!(bench.root_key().exists());
    assert_eq!(bench.run("node leave --force -y").await.success(), "node n1 has left cluster lab\n");
    assert_eq!(
        bench.heard.take(),
        [(hub::RemoveNode::NAME, json!({ "name": "n2" })), (agent::LeaveCluster::NAME, json!({ "force": true }))]
    );
    assert_eq!(bench.root_key().exists(), !is_root(), "root's key goes with the membership");
    let run = Bench::new(Cluster::None, true).run("node leave -y").await;
    assert_eq!((run.status, run.err.as_str()), (Some(4), "error: node n1 is in no cluster\n"));
}

#[tokio::test]
async fn members_are_listed_with_and_without_the_control_plane() {
    let bench = Bench::new(Cluster::Here, true);
    let table = bench.run("node list").await.success();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "STATE", "ADDRESS", "CONTROLLER", "ROLES", "SINCE", "JOINED", "AGE"]);
    assert_eq!(lines[1][..6], ["n1", "online", "10.0.0.1:9932", "yes", "edge,core", "5s"]);
    assert_eq!(lines[2][..6], ["n2", "down", "10.0.0.2:9932", "no", "-", "8s"]);
    assert_eq!(lines[3][..2], ["n3", "parked"]);
    let shown = bench.run("node show n2 -o json").await.json();
    assert_eq!((&shown["status"]["state"], &shown["status"]["links"][0]["class"]), (&json!("down"), &json!("calls")));
    let why = "no session for 9000 ms; down say n1, n3 for 9000 ms; confirmation failed";
    assert_eq!(shown["status"]["reason"], why);
    let run = bench.run("node show n9").await;
    assert_eq!((run.status, run.err.as_str()), (Some(2), "error: there is no node n9; see: acpctl node list\n"));

    let lost = Bench::new(Cluster::Lost, true);
    let run = lost.run("node list -o json").await;
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.err.contains("the control plane on n2 is not reached") && run.err.contains("1m5s ago"), "{}", run.err);
    let rows: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!((&rows[1]["name"], &rows[1]["status"]["state"]), (&json!("n2"), &json!("unknown")));
    assert_eq!((&rows[1]["reporter"], &rows[1]["age_ms"]), (&json!("agent"), &json!(65_000)));

    let run = Bench::new(Cluster::None, true).run("node list").await;
    assert_eq!(run.status, Some(0));
    assert!(run.err.contains("there is no cluster here: this is this node alone"), "{}", run.err);
}

#[tokio::test]
async fn cluster_status_says_what_is_wrong() {
    let run = Bench::new(Cluster::Here, true).run("cluster status").await;
    assert_eq!(run.status, Some(75), "{run:?}");
    assert!(
        run.out.contains("Leader:      n1, of 3 voters") && run.out.contains("epoch 2-0a, index 42"),
        "{}",
        run.out
    );
    assert!(run.out.contains("Cluster:     lab (") && run.out.contains("hub heard 1.2 s ago"), "{}", run.out);
    assert!(run.out.contains("2 of 3 nodes are offline"), "{}", run.out);
    assert!(run.out.contains("Upgrade:     feature level 2 is not possible yet"), "{}", run.out);
    let run = Bench::new(Cluster::Lost, true).run("cluster status -o json").await;
    assert_eq!(run.status, Some(75), "{run:?}");
    let status: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(
        (&status["ok"], &status["hub"], &status["cluster"]["name"]),
        (&json!(false), &Value::Null, &json!("lab"))
    );
    assert_eq!(status["problems"][0], "the control plane is not heard: last 1m5s ago");
    let alone = Bench::new(Cluster::None, true).run("cluster status").await.success();
    assert!(alone.starts_with("Cluster:     none;"), "{alone}");
}

#[tokio::test]
async fn secrets_are_printed_once_and_alone() {
    let bench = Bench::new(Cluster::Here, true);
    let run = bench.run("key create ci --scope operate --lifetime 2h").await;
    assert_eq!((run.status, run.out.as_str()), (Some(0), "acpk.77\n"));
    assert!(run.err.contains("shown this once") && !run.err.contains("acpk.77"), "{}", run.err);
    let run = bench.run("node token create --lifetime 30m --uses 3 --no-root-key").await;
    assert_eq!((run.status, run.out), (Some(0), format!("{TOKEN}\n")));
    assert!(run.err.contains("3 nodes") && !run.err.contains(TOKEN), "{}", run.err);
    let token = bench.run("node token create -o json").await.json();
    assert_eq!((&token["text"], &token["token"]["uses_left"]), (&json!(TOKEN), &json!(1)));
    assert_eq!(
        bench.heard.take(),
        [
            (hub::CreateKey::NAME, json!({ "name": "ci", "scope": "operate", "lifetime_ms": 7_200_000 })),
            (hub::CreateToken::NAME, json!({ "lifetime_ms": 1_800_000, "uses": 3, "no_root_key": true })),
            (hub::CreateToken::NAME, json!({ "lifetime_ms": 3_600_000, "uses": 1, "no_root_key": false })),
        ]
    );
}

#[tokio::test]
async fn keys_and_tokens_are_listed_and_revoked() {
    let bench = Bench::new(Cluster::Here, true);
    let table = bench.run("key list").await.success();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "SCOPE", "CREATED", "EXPIRES", "ID"]);
    assert_eq!((lines[1][0], lines[1][1], lines[1][3]), ("root@n1", "admin", "expired"));
    let tokens = bench.run("node token list -o yaml").await.success();
    assert!(tokens.contains("uses_left: 4") && tokens.contains("no_root_key: true"), "{tokens}");
    assert_eq!(bench.run("key revoke root@n1").await.success(), "key root@n1 is revoked\n");
    let id = Uid::from_u128(5);
    assert_eq!(bench.run(&format!("node token revoke {id}")).await.success(), format!("token {id} is revoked\n"));
    assert_eq!(
        bench.heard.take(),
        [(hub::RevokeKey::NAME, json!({ "name": "root@n1" })), (hub::RevokeToken::NAME, json!({ "uid": id }))]
    );
}
