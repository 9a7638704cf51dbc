//! Voters, backups, and members that ask, come back, move and are set aside.

use std::os::unix::fs::PermissionsExt;

use acp_wire_api::{Method, agent, hub};
use serde_json::{Value, json};

use super::{
    bench::{Bench, Cluster, TOKEN},
    control::{REQUEST, backup},
};
use crate::node::LIMIT;

#[tokio::test]
async fn voters_are_shown_with_how_far_each_is() {
    let bench = Bench::new(Cluster::Here, true);
    let shown = bench.run("hub status").await.success();
    assert!(
        shown.starts_with(
            "Leader:      n1, term 4\nLog:         epoch 2-0a, index 99 by node n1\nVoters:      2 of 3 wanted\n"
        ),
        "{shown}"
    );
    let rows: Vec<Vec<&str>> = shown.lines().skip(4).map(|line| line.split_whitespace().take(4).collect()).collect();
    assert_eq!(
        rows,
        [
            ["VOTER", "ROLE", "BEHIND", "HEARD"],
            ["n1", "leader", "-", "-"],
            ["n2", "follower", "7", "2s"],
            ["n3", "learner", "-", "-"]
        ]
    );
    assert_eq!(bench.run("hub status -o json").await.json()["voters"][1]["behind"], 7);
    for cluster in [Cluster::None, Cluster::Lost] {
        let alone = Bench::new(cluster, true).run("hub status --timeout 2s").await;
        assert!(
            alone.out.starts_with("Leader:      n1"),
            "without a way to a controller this node's own hub is asked: {alone:?}"
        );
    }
    assert_eq!(bench.run("hub transfer n3").await.success(), "node n3 leads\n");
    assert_eq!(bench.run("hub transfer").await.success(), "node n2 leads\n");
    let said = bench.run("cluster voters 5").await.success();
    assert_eq!(said, "the cluster shall have 5 voters, and has 2; see: acpctl hub status\n");
    let heard: Vec<Value> = bench.heard.take().into_iter().map(|(_name, request)| request).collect();
    assert_eq!(heard, [json!({ "to": "n3" }), json!({}), json!({ "voters": 5 })]);
}

#[tokio::test]
async fn the_level_is_raised_when_nobody_is_older_and_somebody_agrees() {
    let bench = Bench::new(Cluster::Here, true);
    let refused = bench.run("cluster upgrade --yes").await;
    assert_eq!((refused.status, refused.err.as_str()), (Some(4), "error: node n2 runs hub of level 1\n"));
    let plan = bench.run("cluster upgrade --plan").await.success();
    assert_eq!(
        plan,
        "the cluster's feature level would be raised from 1 to 2\n  programs that know level 1 alone cannot come back into \
         this cluster\n"
    );
    let asked = bench.run("cluster upgrade").await;
    assert_eq!(asked.status, Some(64), "{asked:?}");
    assert!(asked.err.contains("cannot come back") && asked.err.contains("from 1 to 2"), "{}", asked.err);
    assert_eq!(bench.heard.take(), [], "nothing was done yet");
    let raised = bench.run("cluster upgrade --yes").await;
    assert_eq!((raised.status, raised.out.as_str()), (Some(0), "the cluster is at feature level 2\n"));
    assert_eq!(bench.heard.take(), [(hub::Upgrade::NAME, json!({}))]);
}

#[tokio::test]
async fn recovery_says_what_is_lost_and_is_asked_about() {
    let bench = Bench::new(Cluster::Lost, true);
    let plan = bench.run("hub recover --plan").await.success();
    for part in ["entries up to 99 of epoch 2-0a", "what n2 had acknowledged is lost", "do this only if"] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    let run = bench.run("hub recover").await;
    assert_eq!(run.status, Some(64), "{run:?}");
    assert!(run.err.contains("acknowledged is lost") && run.err.contains("give --yes"), "{}", run.err);
    let asked = |wanted: &[(&'static str, Value)]| assert_eq!(bench.heard.take(), wanted);
    asked(&[(hub::Recover::NAME, json!({ "plan": true })), (hub::Recover::NAME, json!({ "plan": true }))]);
    let run = bench.run("hub recover --yes").await;
    assert_eq!(
        (run.status, run.out.contains("lab goes on in epoch 2-0a with node n1 as its only voter")),
        (Some(0), true),
        "{run:?}"
    );
    asked(&[(hub::Recover::NAME, json!({ "plan": true })), (hub::Recover::NAME, json!({ "plan": false }))]);
}

#[tokio::test]
async fn a_backup_is_private_whole_and_replaces_nothing_unasked() {
    let bench = Bench::new(Cluster::Here, true);
    let file = bench.node.folder().join("lab.backup");
    let make = format!("cluster backup {}", file.display());
    let run = bench.run(&make).await;
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.out.contains("holds cluster lab (") && run.out.contains("up to entry 99"), "{}", run.out);
    assert!(run.err.contains("it is a secret") && !run.err.contains("PRIVATE"), "{}", run.err);
    assert_eq!(std::fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);
    let kept: hub::BackupReply = serde_json::from_slice(&std::fs::read(&file).expect("read")).expect("whole");
    assert_eq!(kept, backup());
    assert_eq!(bench.heard.take().len(), 1);
    let run = bench.run(&make).await;
    assert_eq!((run.status, bench.heard.take()), (Some(3), Vec::new()), "the secret is not even asked for: {run:?}");
    assert_eq!(bench.run(&format!("{make} --force")).await.status, Some(0));
    assert_eq!(bench.heard.take().len(), 1);

    let restore = format!("cluster restore {}", file.display());
    let plan = bench.run(&format!("{restore} --plan")).await.success();
    assert!(plan.contains("holds cluster lab (") && plan.contains("made at 1970-01-01T00:00:01Z"), "{plan}");
    assert!(plan.ends_with("lab begins anew at entry 99\n"), "{plan}");
    let run = bench.run(&restore).await;
    assert!(run.status == Some(64) && run.err.contains("is lost") && run.err.contains("give --yes"), "{run:?}");
    assert_eq!(bench.run(&format!("{restore} -y")).await.status, Some(0));
    let request = |plan: bool| (hub::Restore::NAME, json!({ "backup": backup(), "plan": plan }));
    assert_eq!(bench.heard.take(), [request(true), request(false)]);

    std::fs::write(&file, "{\"authority\": \"secret\", ").expect("written");
    let run = bench.run(&restore).await;
    assert!(run.status == Some(74) && !run.err.contains("secret"), "{run:?}");
    assert_eq!(bench.run("cluster restore /nowhere/at/all").await.status, Some(2));
}

#[tokio::test]
async fn a_node_that_was_restored_is_a_member_of_the_backups_cluster() {
    let bench = Bench::new(Cluster::None, true);
    let file = bench.node.folder().join("lab.backup");
    std::fs::write(&file, serde_json::to_vec(&backup()).expect("JSON")).expect("written");
    let run = bench.run(&format!("cluster restore {} -y", file.display())).await;
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.out.starts_with("node n1 goes on in epoch 2-0a as its only voter; "), "{}", run.out);
    let heard = bench.heard.take();
    assert_eq!(heard[0].0, hub::Restore::NAME);
    let (method, request) = &heard[1];
    assert_eq!((*method, &request["name"], heard.len()), (agent::InitCluster::NAME, &json!("lab"), 2));
    assert_eq!(
        (request["root_key_hash"].is_string(), bench.root_key().exists()),
        (true, true),
        "root has its key again"
    );
}

#[tokio::test]
async fn a_node_without_a_token_asks_and_every_answer_has_its_status() {
    let bench = Bench::new(Cluster::None, true);
    for (member, status, said) in [
        ("10.0.0.1", 0, "is a member of cluster lab"),
        ("10.0.0.2", 3, "is a member of cluster lab"),
        ("10.0.0.3", 77, "has turned this node away"),
        ("10.0.0.4", 6, "nobody has answered within 90s"),
        ("10.0.0.5", 4, "takes no requests: join with a token"),
        ("10.0.0.6", 75, "nobody answers at 10.0.0.6"),
    ] {
        let run = bench.run(&format!("node join {member} --wait 90s")).await;
        assert_eq!(run.status, Some(status), "{member}: {run:?}");
        let text = format!("{}{}", run.out, run.err);
        assert!(text.contains(said), "{member}: {text}");
        for shown in ["ee".repeat(32), "dd".repeat(32), format!("acpctl node approve {REQUEST}")] {
            assert!(run.err.contains(&shown), "{member}: {shown}: {}", run.err);
        }
    }
    let heard = bench.heard.take();
    assert_eq!((heard[0].0, &heard[0].1["wait_ms"]), (agent::RequestJoin::NAME, &json!(90_000)));
    let fingerprint = "AB:".repeat(32);
    bench.run(&format!("node join 10.0.0.1 --fingerprint {}", fingerprint.trim_end_matches(':'))).await;
    assert_eq!(bench.heard.take()[0].1["fingerprint"], "ab".repeat(32));
}

#[tokio::test]
async fn requests_are_answered_by_a_part_of_their_id() {
    let bench = Bench::new(Cluster::Here, true);
    let table = bench.run("node requests").await.success();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!((rows[0].as_slice(), rows[1][1]), (["ID", "NODE", "ADDRESS"].as_slice(), "n4"));
    let said = bench.run("node approve a5").await.success();
    assert_eq!(said, format!("node n4 at 10.0.0.4:9932 with the key {} may join\n", "dd".repeat(32)));
    assert!(bench.run(&format!("node reject {REQUEST}")).await.success().ends_with(" is turned away\n"));
    assert_eq!(
        bench.heard.take(),
        [(hub::Approve::NAME, json!({ "uid": REQUEST })), (hub::Reject::NAME, json!({ "uid": REQUEST }))]
    );
    let run = bench.run("node approve 0000").await;
    assert!(run.status == Some(64) && run.err.contains("of several requests"), "{run:?}");
    let run = bench.run("node approve ff").await;
    assert_eq!(
        (run.status, run.err.as_str()),
        (Some(2), "error: there is no request \"ff\"; see: acpctl node requests\n")
    );
    assert_eq!(bench.heard.take(), []);
}

#[tokio::test]
async fn members_are_renamed_moved_and_set_aside() {
    let bench = Bench::new(Cluster::Here, true);
    for (line, said) in [
        ("node rename n2 b2", "node n2 is called b2 now\n"),
        ("node readdress n2 10.0.0.9", "node n2 is reached at 10.0.0.9:9932 now\n"),
        ("node park n2", "node n2 is set aside; acpctl node unpark expects it again\n"),
        ("node unpark n2", "node n2 is expected again\n"),
        ("node remove n2 --plan", "system web goes on as an orphan\n"),
        ("role set edge --nodes n1,n2 --units ", "role edge is set\n"),
    ] {
        assert_eq!(bench.run(line).await.success(), said, "{line}");
    }
    assert_eq!(
        bench.heard.take(),
        [
            (hub::Rename::NAME, json!({ "name": "n2", "to": "b2" })),
            (hub::Readdress::NAME, json!({ "name": "n2", "address": "10.0.0.9:9932" })),
            (hub::Park::NAME, json!({ "name": "n2" })),
            (hub::Unpark::NAME, json!({ "name": "n2" })),
            (hub::PlanRemove::NAME, json!({ "name": "n2" })),
            (hub::SetRole::NAME, json!({ "name": "edge", "units": [], "nodes": ["n1", "n2"] })),
        ]
    );
    let run = bench.run("node remove n1 --plan").await;
    assert_eq!((run.status, run.out.lines().next()), (Some(4), Some("cannot remove n1: it is the last controller")));
    let roles = bench.run("role list").await.success();
    assert_eq!(roles.lines().nth(1).map(|line| line.split_whitespace().collect()), Some(vec!["edge", "api,hub", "n1"]));
}

#[tokio::test]
async fn values_are_noted_of_nodes_with_their_types() {
    let bench = Bench::new(Cluster::Here, true);
    let said = bench.run("node set n2 zone=a ssd=true rack=12 serial=\"12\" --unset note,old").await.success();
    assert_eq!(said, "node n2 is set\n");
    assert_eq!(bench.run("node set n2 --unset zone").await.success(), said);
    let set = json!({ "zone": "a", "ssd": true, "rack": 12, "serial": "12" });
    assert_eq!(
        bench.heard.take(),
        [
            (hub::SetMetadata::NAME, json!({ "name": "n2", "set": set, "unset": ["note", "old"] })),
            (hub::SetMetadata::NAME, json!({ "name": "n2", "unset": ["zone"] })),
        ]
    );
    for (line, why) in [
        ("node set n2", "required"),
        ("node set n2 zone", "not of the form NAME=VALUE"),
        ("node set n2 zone=a zone=b", "zone is given twice"),
    ] {
        let run = bench.run(line).await;
        assert!(run.status == Some(64) && run.err.contains(why), "{run:?}");
    }
    assert_eq!(bench.heard.take(), []);
    let shown = bench.run("node show n2 -o json").await.json();
    assert_eq!(shown["spec"]["metadata"], json!({ "rack": 12, "ssd": true, "zone": "a" }));
    let shown = bench.run("node show n2").await.success();
    let is_noted = |line: &str| line.split_whitespace().eq(["Metadata:", "rack=12", "ssd=true", "zone=a"]);
    assert!(shown.lines().any(is_noted), "{shown}");
}

#[tokio::test]
async fn filters_are_asked_of_the_control_plane_alone() {
    let bench = Bench::new(Cluster::Here, true);
    let line =
        "node list --online --parked=no --controller=yes --role edge --service api --where zone=a --where rack!=12";
    bench.run(line).await.success();
    let conditions = json!([
        { "name": "zone", "op": "eq", "value": "a" },
        { "name": "rack", "op": "ne", "value": 12 },
    ]);
    let filter = json!({
        "online": true, "parked": false, "controller": true, "role": "edge", "service": "api", "metadata": conditions,
    });
    assert_eq!(bench.heard.take(), [(hub::ListNodes::NAME, filter)]);
    let run = bench.run("node list --where zone").await;
    assert!(run.status == Some(64) && run.err.contains("not of the form NAME=VALUE or NAME!=VALUE"), "{run:?}");
    let run = Bench::new(Cluster::Lost, true).run("node list --where zone=a").await;
    assert_eq!((run.status, run.out.as_str()), (Some(6), ""), "this node knows who is a member, and cannot filter");
}

#[tokio::test]
async fn nodes_are_followed_past_the_end_of_a_controller_and_nothing_is_told_twice() {
    let bench = Bench::new(Cluster::Here, true);
    let mut command = bench.node.command("node list --follow --where zone!=b");
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let mut child = child.expect("acpctl runs");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().expect("piped")));
    for expected in [
        "came     n1  online  10.0.0.1:9932  edge,core",
        "came     n2  online  10.0.0.2:9932  rack=12 ssd=true zone=a",
        "offline  n2  offline  10.0.0.2:9932  rack=12 ssd=true zone=a",
        "came     n4  online  10.0.0.4:9932",
        "went     n4  online  10.0.0.4:9932",
    ] {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("it is told").expect("read");
        assert!(line.as_ref().is_some_and(|line| line.ends_with(expected)), "{line:?} is not {expected}");
    }
    child.kill().await.expect("it runs");
    let output = child.wait_with_output().await.expect("it ran");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("watch lost (the hub is ending"), "{err}");
    let filter = json!({ "metadata": [{ "name": "zone", "op": "ne", "value": "b" }] });
    assert_eq!(bench.heard.take(), [(hub::WatchNodes::NAME, filter.clone()), (hub::WatchNodes::NAME, filter)]);
}

#[tokio::test]
async fn a_node_comes_back_with_a_token_although_it_takes_itself_for_a_member() {
    let bench = Bench::new(Cluster::Here, true);
    let run = bench.run_fed("node rejoin 10.0.0.2 --token-file -", &format!("{TOKEN}\n")).await;
    assert_eq!(
        (run.status, run.out.as_str()),
        (Some(0), "node n1 at 10.0.0.1:9932 is a member of cluster lab again\n"),
        "{run:?}"
    );
    let heard = bench.heard.take();
    assert_eq!(
        (heard[0].0, &heard[0].1["member"], &heard[0].1["token"]),
        (agent::Rejoin::NAME, &json!("10.0.0.2"), &json!(TOKEN))
    );
}
