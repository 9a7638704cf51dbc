//! Voters, backups, and members that ask, come back, move and are set aside.

use std::os::unix::fs::PermissionsExt;

use acp_wire_api::{Method, agent, hub};
use serde_json::{Value, json};

use super::{
    bench::{Bench, Cluster, TOKEN},
    control::{REQUEST, backup},
};

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
