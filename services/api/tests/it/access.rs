//! Whose key, what it may, and for whom a request is.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    harness::{World, admin, problem, reader, secret},
    http,
};

#[tokio::test]
async fn without_a_key_that_is_known_nothing_is_done() {
    let world = World::start().await;
    let bare = world.request("GET", "/v1/systems/web");
    let cases = [
        bare.clone(),
        bare.clone().key("acpk.77"),
        bare.clone().header("Authorization", "Basic eA=="),
        bare.key(&secret('7')),
    ];
    let begun = Instant::now();
    for answer in join_all(cases.map(http::Request::send)).await {
        let problem = problem(&answer, 401, "PermissionDenied");
        assert_eq!(problem["type"], "urn:acp:error:Unauthenticated");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(500), "guessing is slow");
    assert_eq!(world.agent.opens(), 0);
    let health = world.request("GET", "/v1/health").send().await;
    assert_eq!((health.status, health.json()["node"].as_str()), (200, Some("test")));
}

#[tokio::test]
async fn a_flood_of_guesses_is_bounded_and_keeps_nobody_out() {
    let world = World::start().await;
    let guesses = (0..60).map(|_| world.request("GET", "/v1/systems/web").key(&secret('7')).send());
    let known = async {
        let begun = Instant::now();
        (world.get("/v1/systems/web").await.status, begun.elapsed())
    };
    let (answers, (status, took)) = tokio::join!(join_all(guesses), known);
    assert!(status == 200 && took < Duration::from_millis(1500), "{status} after {took:?}");
    let held = answers.iter().filter(|answer| answer.status == 401).count();
    let told_later =
        answers.iter().filter(|answer| answer.status == 429 && answer.header("retry-after") == "1").count();
    assert_eq!(held + told_later, 60);
    assert!(held >= 16 && told_later > 0, "{held} answers were held back");
}

#[tokio::test]
async fn a_key_may_do_what_its_scope_includes() {
    let world = World::start().await;
    let read = world.request("GET", "/v1/systems/web").key(&reader()).send().await;
    assert_eq!(read.status, 200, "{read:?}");
    let refused = world.request("POST", "/v1/systems/web/start").key(&reader()).send().await;
    let problem = problem(&refused, 403, "PermissionDenied");
    assert!(problem["detail"].as_str().is_some_and(|text| text.starts_with("key viewer may not call")), "{problem}");
    assert_eq!(world.request("POST", "/v1/systems/web/start").key(&admin()).send().await.status, 202);
    let own = world.request("GET", "/v1/self").key(&reader()).send().await.json();
    assert_eq!((own["name"].as_str(), own["scope"].as_str()), (Some("viewer"), Some("read")));
}

#[tokio::test]
async fn a_revoked_key_is_unknown_soon() {
    let world = World::start().await;
    let request = world.request("GET", "/v1/self").key(&reader());
    assert_eq!(request.clone().send().await.status, 200);
    world.agent.revoke(&reader());
    http::until(&request, "the end of the key", |answer| answer.status == 401).await;
}

#[tokio::test]
async fn an_agent_that_is_away_costs_the_time_that_the_request_gives() {
    let world = World::start().await;
    world.agent.end().await;
    let begun = Instant::now();
    let answer = world.get("/v1/systems/web?timeout_ms=300").await;
    assert_eq!(answer.status / 100, 5, "{answer:?}");
    assert_eq!(answer.json()["changed"], "none");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn only_requests_for_this_host_are_served() {
    let world = World::start().await;
    for host in ["example.org", "127.0.0.1.example.org:9933", "10.0.0.1:9933"] {
        for target in ["/", "/v1/health", "/v1/systems"] {
            let answer = world.request("GET", target).key(&admin()).header("Host", host).send().await;
            assert_eq!(problem(&answer, 421, "InvalidArgument")["type"], "urn:acp:error:Misdirected");
        }
    }
    let port = world.address.port();
    for host in ["localhost".to_owned(), format!("[::1]:{port}"), format!("127.0.0.1:{port}")] {
        assert_eq!(
            world.request("GET", "/v1/systems").key(&admin()).header("Host", &host).send().await.status,
            200,
            "{host}"
        );
    }
    let foreign = world.request("POST", "/v1/systems").key(&admin()).header("Origin", "http://example.org");
    let answer = foreign.body(json!({ "name": "a" }).to_string()).send().await;
    assert_eq!(answer.status, 421, "{answer:?}");
    assert!(!answer.headers.keys().any(|name| name.starts_with("access-control")), "{answer:?}");
    assert!(world.here.state().created.is_empty());
}

#[tokio::test]
async fn conversations_are_kept_and_used_again() {
    let world = World::start().await;
    for _ in 0..20 {
        assert_eq!(world.get("/v1/systems/web").await.status, 200);
    }
    assert_eq!(world.agent.opens(), 1, "one key, one node, one service");
    assert_eq!(world.get("/v1/nodes/n2/systems/web").await.status, 200);
    assert_eq!(world.request("GET", "/v1/systems/web").key(&reader()).send().await.status, 200);
    assert_eq!(world.agent.opens(), 3, "another node and another key have their own");
}
