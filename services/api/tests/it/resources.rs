//! What is read and done reaches the services of the node that was named.

use acp_wire_model::{Kind, Object};
use serde_json::json;

use crate::harness::{World, problem};

#[tokio::test]
async fn a_node_can_be_named_in_two_ways() {
    let world = World::start().await;
    world.there.put("far");
    let names = |answer: crate::http::Answer| -> Vec<String> {
        let items = answer.json()["items"].as_array().cloned().expect("items");
        items.iter().map(|item| item["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(world.get("/v1/systems").await), ["web"]);
    assert_eq!(names(world.get("/v1/systems?node=test").await), ["web"]);
    for target in ["/v1/systems?node=n2", "/v1/nodes/n2/systems"] {
        assert_eq!(names(world.get(target).await), ["far", "web"], "{target}");
    }
    assert_eq!(world.get("/v1/nodes/n2/systems/far").await.json()["meta"]["state"], "running");
    problem(&world.get("/v1/systems/far").await, 404, "NotFound");
    problem(&world.get("/v1/systems?node=n9").await, 404, "NotFound");
    problem(&world.get("/v1/systems?node=n%2F9").await, 400, "InvalidArgument");
}

#[tokio::test]
async fn lists_go_on_where_they_were_left() {
    let world = World::start().await;
    for name in ["a", "b", "c", "d"] {
        world.here.put(name);
    }
    let mut seen = Vec::new();
    let mut target = "/v1/systems?limit=2".to_owned();
    loop {
        let answer = world.get(&target).await.json();
        let items = answer["items"].as_array().cloned().expect("items");
        assert!(items.len() <= 2, "{answer}");
        seen.extend(items.iter().map(|item| item["name"].as_str().unwrap_or_default().to_owned()));
        let Some(next) = answer["next"].as_str() else { break };
        target = format!("/v1/systems?limit=2&after={next}");
    }
    assert_eq!(seen, ["a", "b", "c", "d", "web"]);
    for bad in ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2"] {
        problem(&world.get(&format!("/v1/systems?{bad}")).await, 400, "InvalidArgument");
    }
    let nodes = world.get("/v1/nodes?limit=1").await.json();
    assert_eq!((nodes["items"][0]["name"].as_str(), nodes["next"].as_str()), (Some("n2"), Some("n2")));
    assert_eq!(nodes["items"][0].get("online"), None, "the control plane is away");
}

#[tokio::test]
async fn long_work_is_a_job_with_a_place() {
    let world = World::start().await;
    for (target, prefix) in [("/v1/systems/web/start", "/v1"), ("/v1/nodes/n2/systems/web/start", "/v1/nodes/n2")] {
        let answer = world.request("POST", target).key(&crate::harness::admin()).send().await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let location = answer.header("location").to_owned();
        assert_eq!(location, format!("{prefix}/jobs/00000000-0000-0000-0000-000000000b0b"));
        assert_eq!(answer.json()["href"], location);
        assert_eq!(world.get(&location).await.json()["state"], "running");
    }
    let nothing = world.request("POST", "/v1/systems/other/start").key(&crate::harness::admin()).send().await;
    assert_eq!((nothing.status, nothing.body.as_str()), (200, "{}"));
    let unknown = world.get("/v1/jobs/00000000-0000-0000-0000-000000000001").await;
    problem(&unknown, 404, "NotFound");
    let created = world.post("/v1/nodes/n2/systems", &json!({ "name": "new" })).await;
    assert_eq!((created.status, created.json()["uid"].as_str()), (202, Some("00000000-0000-0000-0000-000000000009")));
    assert_eq!(world.there.state().created, ["new"]);
    let reset = world.request("POST", "/v1/systems/web/reset").key(&crate::harness::admin()).send().await;
    assert_eq!((reset.status, reset.body.as_str()), (204, ""));
}

#[tokio::test]
async fn what_a_request_says_wrongly_is_named() {
    let world = World::start().await;
    for (body, place) in [
        (json!({ "name": "a", "cpu": 2 }), "cpu"),
        (json!({ "name": "a", "cpus": "two" }), "cpus"),
        (json!({}), "name"),
        (json!({ "name": "-a" }), "name"),
        (json!(["a"]), "object"),
    ] {
        let answer = world.post("/v1/systems", &body).await;
        let problem = problem(&answer, 400, "InvalidArgument");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(place)), "{problem}");
        assert_eq!((problem["blame"].as_str(), problem["changed"].as_str()), (Some("caller"), Some("none")));
    }
    let bare = world.request("POST", "/v1/systems").key(&crate::harness::admin());
    let typed = bare.clone().body("{}").header("Content-Type", "text/plain").send().await;
    assert_eq!(typed.status, 415, "{typed:?}");
    problem(&bare.body("{").send().await, 400, "InvalidArgument");
    problem(&world.post("/v1/systems/web/start", &json!({})).await, 400, "InvalidArgument");
    assert!(world.here.state().created.is_empty());
    problem(&world.post("/v1/systems", &json!({ "name": "taken" })).await, 409, "AlreadyExists");
}

#[tokio::test]
async fn the_request_id_goes_all_the_way() {
    let world = World::start().await;
    let request = world.request("GET", "/v1/systems/web").key(&crate::harness::admin());
    let answer = request.clone().header("X-Request-Id", "trace-7").send().await;
    assert_eq!(answer.header("x-request-id"), "trace-7");
    let made = request.clone().header("X-Request-Id", "has a space").send().await;
    let own = made.header("x-request-id").to_owned();
    assert_eq!(own.len(), 32, "{made:?}");
    assert_eq!(world.here.state().request_ids, ["trace-7".to_owned(), own]);
}

#[tokio::test]
async fn objects_and_logs_are_read_as_they_are() {
    let world = World::start().await;
    let volume = Object {
        kind: Kind::Volume,
        name: "default/web-0".to_owned(),
        uid: acp_base::Uid::from_u128(77),
        version: 0,
        spec: json!(null),
        slots: Vec::new(),
    };
    world.here.state().objects.push(volume);
    for target in [
        "/v1/objects/volume/default%2Fweb-0",
        "/v1/objects/volume/00000000-0000-0000-0000-00000000004d",
        "/v1/volumes/default/web-0",
    ] {
        assert_eq!(world.get(target).await.json()["name"], "default/web-0", "{target}");
    }
    assert_eq!(world.get("/v1/objects/system").await.json()["items"][0]["slots"][0]["reporter"], "hypervisor@test");
    let log = world.get("/v1/services/storage-worker@default/log?lines=5").await.json();
    assert_eq!(
        log["lines"],
        json!(["storage-worker@default 1", "storage-worker@default 2", "storage-worker@default 5"])
    );
}
