//! The log, what was, the quorum and its members.

use serde_json::{Value, json};

use crate::harness::{World, admin, problem, reader};

fn indexes(answer: &Value) -> Vec<u64> {
    answer["items"].as_array().expect("items").iter().filter_map(|item| item["index"].as_u64()).collect()
}

#[tokio::test]
async fn events_are_listed_and_gone_on_with_by_cursor() {
    let world = World::start().await;
    for _ in 0..5 {
        world.here.log();
    }
    let newest = world.get("/v1/events?limit=2").await.json();
    assert_eq!((indexes(&newest), newest.get("next")), (vec![4, 5], None));
    let first = world.get("/v1/events?from=1&limit=3").await.json();
    assert_eq!((indexes(&first), &first["next"]), (vec![1, 2, 3], &json!("1-0000000a:3")));
    let event = &first["items"][1];
    assert_eq!(
        (&event["action"]["type"], &event["epoch"], &event["actor"]),
        (&json!("feature_level"), &json!("1-0000000a"), &json!("ops"))
    );
    assert_eq!((&event["refused"], &event["time_ms"]), (&json!("it is not above the present one"), &json!(5)));
    let rest = world.get("/v1/events?after=1-0000000a:3").await.json();
    assert_eq!((indexes(&rest), rest.get("next")), (vec![4, 5], None));
    problem(&world.get("/v1/events?after=2-ff:3").await, 409, "FailedPrecondition");
    let further = world.get("/v1/events?from=1&after=1-0000000a:3").await.json();
    assert_eq!(indexes(&further), vec![4, 5], "who goes on behind a page has begun somewhere");
    assert_eq!(indexes(&world.get("/v1/nodes/n2/events").await.json()), Vec::<u64>::new());
}

#[tokio::test]
async fn a_watch_of_events_goes_on_after_the_last_one_seen() {
    let world = World::start().await;
    world.here.log();
    let watch = || world.request("GET", "/v1/events/watch").key(&reader());
    let mut stream = watch().open().await;
    assert!(stream.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"), "nothing is new, and it is answered");
    world.here.log();
    let told = stream.until("\n\n").await;
    assert!(told.contains("event: event\nid: 1-0000000a:2\n") && told.contains("\"index\":2"), "{told}");
    drop(stream);
    world.here.log();
    let mut resumed = watch().header("Last-Event-ID", "1-0000000a:2").open().await;
    resumed.until("\r\n\r\n").await;
    let told = resumed.until("\n\n").await;
    assert!(told.contains("id: 1-0000000a:3\n") && !told.contains("\"index\":2"), "{told}");
    problem(&watch().header("Last-Event-ID", "2-ff:1").send().await, 409, "FailedPrecondition");
}

#[tokio::test]
async fn what_was_is_answered_and_undone() {
    let world = World::start().await;
    let was = world.get("/v1/objects/system/web/at/17").await.json();
    assert_eq!((&was["spec"]["cpus"], &was["name"], &was["kind"]), (&json!(17), &json!("web"), &json!("system")));
    problem(&world.get("/v1/objects/system/web/at/x").await, 400, "InvalidArgument");
    let (mut seen, mut target) = (Vec::new(), "/v1/objects/system/at/17?limit=1".to_owned());
    loop {
        let part = world.get(&target).await.json();
        let item = &part["items"][0];
        assert_eq!((&item["spec"]["cpus"], &item["time_ms"]), (&json!(17), &json!(5)));
        seen.push((item["name"].clone(), item["uid"].clone()));
        let Some(next) = part["next"].as_str() else { break };
        target = format!("/v1/objects/system/at/17?limit=1&after={next}");
    }
    let id = |number: u128| json!(acp_base::Uid::from_u128(number));
    assert_eq!(seen, [(json!("a"), id(1)), (json!("a"), id(2)), (json!("b"), id(3))], "part by part, each once");
    assert_eq!(world.get("/v1/objects/system/web?consistent=true").await.json()["name"], "web");
    assert_eq!(world.request("POST", "/v1/events/7/undo").key(&admin()).send().await.json()["index"], 9);
    problem(&world.request("POST", "/v1/events/7/undo").key(&reader()).send().await, 403, "PermissionDenied");
    assert_eq!(world.here.state().asked, [json!({ "index": 7 })]);
    assert_eq!(world.get("/v1/events/verification").await.json()["last"], 2);
    let leases = world.get("/v1/leases").await.json();
    assert_eq!((&leases["items"][0]["node"], leases["items"][1].get("node")), (&json!("n2"), None));
}

#[tokio::test]
async fn the_quorum_and_its_members_are_seen_and_changed() {
    let world = World::start().await;
    assert_eq!(world.get("/v1/quorum").await.json()["voters"][0]["behind"], 7);
    assert_eq!(world.post("/v1/quorum/transfer", &json!({ "to": "n2" })).await.json()["leader"], "n2");
    let act = async |target: &str| world.request("POST", target).key(&admin()).send().await.status;
    assert_eq!(act("/v1/nodes/n2/park").await, 204);
    assert_eq!(world.post("/v1/nodes/n2/rename", &json!({ "to": "b2" })).await.status, 204);
    assert_eq!(world.post("/v1/roles/edge", &json!({ "units": ["api"] })).await.status, 204);
    let noted = json!({ "set": { "zone": "a", "rack": 12, "ssd": true }, "unset": ["note"] });
    assert_eq!(world.post("/v1/nodes/n2/metadata", &noted).await.status, 204);
    let request = world.get("/v1/requests").await.json()["items"][0]["request"].as_str().map(str::to_owned);
    let request = request.expect("an id");
    assert_eq!(act(&format!("/v1/requests/{request}/approve")).await, 204);
    assert_eq!(
        world.here.state().asked,
        [
            json!({ "acp.hub.Park": { "name": "n2" } }),
            json!({ "acp.hub.Rename": { "name": "n2", "to": "b2" } }),
            json!({ "acp.hub.SetRole": { "name": "edge", "units": ["api"] } }),
            json!({ "acp.hub.SetMetadata": { "name": "n2", "set": noted["set"], "unset": ["note"] } }),
            json!({ "acp.hub.Approve": { "uid": request } }),
        ]
    );
    let half = world.post("/v1/nodes/n2/metadata", &json!({ "set": { "load": 0.5 } })).await;
    problem(&half, 400, "InvalidArgument");
    assert!(half.body.contains("a whole number"), "{half:?}");
    problem(&world.post("/v1/nodes/n2/rename", &json!({ "to": "../x" })).await, 400, "InvalidArgument");
}

#[tokio::test]
async fn a_system_is_acted_on_where_it_is_at_home() {
    let world = World::start().await;
    world.here.put_of("n2", "far");
    world.there.put_of("n2", "far");
    let start = world.request("POST", "/v1/systems/far/start").key(&admin()).send().await;
    assert_eq!((start.status, start.body.as_str()), (200, "{}"), "{start:?}");
    let named = world.request("POST", "/v1/systems/web/start").key(&admin()).send().await;
    assert!(named.header("location").starts_with("/v1/jobs/"), "{named:?}");
    world.here.put_of("n9", "lost");
    let lost = world.request("POST", "/v1/systems/lost/start").key(&admin()).send().await;
    let problem = problem(&lost, 404, "NotFound");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("n9")), "it is looked for at home: {problem}");
}

#[tokio::test]
async fn objects_that_share_a_name_are_all_listed_page_by_page() {
    let world = World::start().await;
    for name in ["a", "a", "a", "b"] {
        world.here.put(name);
    }
    let (mut seen, mut target) = (Vec::new(), "/v1/systems?limit=2".to_owned());
    loop {
        let answer = world.get(&target).await.json();
        let items = answer["items"].as_array().cloned().expect("items");
        seen.extend(items.iter().map(|item| item["uid"].as_str().unwrap_or_default().to_owned()));
        let Some(next) = answer["next"].as_str() else { break };
        target = format!("/v1/systems?limit=2&after={next}");
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((all, seen.len()), (5, 5), "each once: {seen:?}");
    problem(&world.get("/v1/systems?after=a,b").await, 400, "InvalidArgument");
}
