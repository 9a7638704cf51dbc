//! The document and the routes are the same list.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::Value;

use crate::harness::{World, admin, problem};

/// Every operation of the document: method, path with its parameters filled in, path as written, and the operation.
fn operations(document: &Value) -> Vec<(String, String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("operations").iter();
        methods.map(move |(method, operation)| (method.to_uppercase(), filled(path), path.clone(), operation.clone()))
    });
    each.collect()
}

fn filled(path: &str) -> String {
    const UID: &str = "00000000-0000-0000-0000-000000000b0b";
    let fill = |part: &str| match part {
        "{kind}" => "system".to_owned(),
        "{uid}" => UID.to_owned(),
        "{node}" => "n2".to_owned(),
        "{index}" => "7".to_owned(),
        other if other.starts_with('{') => "web".to_owned(),
        other => other.to_owned(),
    };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

async fn document(world: &World) -> Value {
    let answer = world.request("GET", "/v1/openapi.json").send().await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    answer.json()
}

/// A parameter that no operation has is refused by the operation itself, so whoever says so is its route; nothing is executed.
#[tokio::test]
async fn every_documented_operation_has_its_route_and_no_path_has_others() {
    let world = World::start().await;
    let document = document(&world).await;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    let operations = operations(&document);
    assert!(operations.len() > 80, "{}", operations.len());
    for (method, target, path, _) in &operations {
        if path != "/v1/openapi.json" {
            let target = format!("{target}?nonsense=1");
            let answer = world.request(method, &target).key(&admin()).send().await;
            let problem = problem(&answer, 400, "InvalidArgument");
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.starts_with("\"nonsense\" is no parameter"), "{method} {path}: {detail}");
        }
        let mut known: BTreeSet<_> =
            operations.iter().filter(|other| other.2 == *path).map(|other| other.0.clone()).collect();
        if known.contains("GET") {
            known.insert("HEAD".to_owned());
        }
        let refused = world.request("PATCH", target).key(&admin()).send().await;
        assert_eq!(refused.status, 405, "{path}: {refused:?}");
        let allowed: BTreeSet<_> = refused.header("allow").split(',').map(str::to_owned).collect();
        assert_eq!(allowed, known, "{path}");
    }
    problem(&world.get("/v1/nonsense").await, 404, "NotFound");
    problem(&world.request("OPTIONS", "/v1/systems").send().await, 405, "InvalidArgument");
}

#[tokio::test]
async fn every_operation_that_asks_for_a_key_refuses_without() {
    let world = World::start().await;
    let document = document(&world).await;
    let operations = operations(&document);
    let open: BTreeSet<_> =
        operations.iter().filter(|one| one.3.get("security").is_none()).map(|one| &one.2[..]).collect();
    assert_eq!(open, BTreeSet::from(["/v1/health", "/v1/openapi.json"]));
    let closed: Vec<_> = operations.iter().filter(|one| !open.contains(&one.2[..])).collect();
    for few in closed.chunks(12) {
        let answers = join_all(few.iter().map(|(method, target, ..)| world.request(method, target).send())).await;
        for ((method, _, path, _), answer) in few.iter().zip(answers) {
            assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(world.agent.opens(), 0, "nothing was asked of anybody");
}

#[tokio::test]
async fn the_document_names_nothing_that_it_does_not_describe() {
    let world = World::start().await;
    let document = document(&world).await;
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for named in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap_or_default()) {
        let name = named.strip_prefix("#/components/schemas/").expect("a schema");
        assert!(schemas.contains_key(name), "{name}");
    }
    let mut ids = BTreeSet::new();
    for (method, _, path, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}: {}", operation["operationId"]);
        let documented = operation["parameters"].as_array().cloned().unwrap_or_default();
        if documented.iter().any(|parameter| parameter["name"] == "node" && parameter["in"] == "query") {
            let there = path.replacen("/v1/", "/v1/nodes/{node}/", 1);
            assert!(document["paths"][&there][method.to_lowercase()].is_object(), "{method} {there} is not described");
        }
        let in_path = documented.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, path.matches('{').count(), "{method} {path}");
    }
    for (kind, spec) in [("System", "SystemSpec"), ("Pool", "PoolSpec")] {
        assert_eq!(schemas[kind]["properties"]["spec"]["$ref"], format!("#/components/schemas/{spec}"), "{kind}");
    }
    assert_eq!(schemas["CreateSystemRequest"]["additionalProperties"], false);
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let world = World::start().await;
    for (path, media_type) in [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")] {
        let answer = world.request("GET", path).send().await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with(media_type), "{answer:?}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert!(!answer.body.contains("://") && !answer.body.contains("innerHTML"), "{path}");
        assert!(answer.body.lines().count() < 300, "{path}");
    }
}
