//! A request that comes again is not executed again.

use acp_dev_wait::{seen, wait_for_async};
use serde_json::json;

use crate::{
    harness::{LIMIT, World, admin, problem, reader, secret},
    http::Request,
};

fn create(world: &World, name: &str, key: &str) -> Request {
    let request = world.request("POST", "/v1/systems").key(&admin()).body(json!({ "name": name }).to_string());
    request.header("Idempotency-Key", key)
}

#[tokio::test]
async fn the_same_request_is_executed_once_also_across_a_restart() {
    let mut world = World::start().await;
    let first = create(&world, "a", "k1").send().await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, ""));
    for is_restarted in [false, true] {
        if is_restarted {
            world.restart().await;
        }
        let again = create(&world, "a", "k1").send().await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (202, "true"), "{again:?}");
        assert_eq!((&again.body, again.header("location")), (&first.body, first.header("location")));
        let other = create(&world, "b", "k1").send().await;
        assert_eq!(problem(&other, 422, "InvalidArgument")["type"], "urn:acp:error:IdempotencyMismatch");
    }
    assert_eq!(world.here.state().created, ["a"]);
    assert_eq!(create(&world, "a", "k2").send().await.status, 202);
    assert_eq!(world.here.state().created, ["a", "a"], "another key is another request");
}

#[tokio::test]
async fn what_is_being_executed_is_not_begun_again_and_goes_on_when_its_caller_leaves() {
    let world = World::start().await;
    world.here.answers.send_replace(false);
    let left = create(&world, "a", "k1").open().await;
    let begun = async || seen(world.here.state().created.len(), |count| *count == 1);
    wait_for_async("the call", LIMIT, begun).await.expect("it is executed");
    let running = create(&world, "a", "k1").send().await;
    assert_eq!(problem(&running, 409, "Conflict")["type"], "urn:acp:error:IdempotencyRunning");
    drop(left);
    world.here.answers.send_replace(true);
    let answered = crate::http::until(&create(&world, "a", "k1"), "its answer", |answer| answer.status == 202).await;
    assert_eq!(answered.header("idempotency-replayed"), "true");
    assert_eq!(world.here.state().created, ["a"]);
}

#[tokio::test]
async fn a_failure_is_kept_unless_sending_again_can_help() {
    let world = World::start().await;
    let first = create(&world, "taken", "k1").send().await;
    problem(&first, 409, "AlreadyExists");
    let again = create(&world, "taken", "k1").send().await;
    assert_eq!((again.status, &again.body), (409, &first.body), "it names the request that was executed");
    assert_eq!(world.here.state().created, ["taken"]);
    for _ in 0..2 {
        let answer = create(&world, "busy", "k2").send().await;
        assert_eq!(problem(&answer, 503, "Unavailable")["changed"], "none");
    }
    assert_eq!(world.here.state().created, ["taken", "busy", "busy"]);
}

#[tokio::test]
async fn a_secret_is_said_once_and_written_nowhere() {
    let world = World::start().await;
    let body = json!({ "name": "ci", "scope": "read" }).to_string();
    let request = world.request("POST", "/v1/keys").key(&admin()).body(body).header("Idempotency-Key", "k1");
    let made = request.clone().send().await;
    assert_eq!((made.status, made.json()["secret"].as_str()), (201, Some(secret('5').as_str())));
    let again = request.send().await;
    assert_eq!(problem(&again, 409, "FailedPrecondition")["type"], "urn:acp:error:IdempotencyAnswerNotKept");
    let mut looked_at = 0;
    for entry in std::fs::read_dir(world.folder.path().join("state/api/answers")).expect("a directory") {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(!text.contains("acpk"), "{text}");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("there").permissions()) & 0o777,
            0o600
        );
        looked_at += 1;
    }
    assert_eq!(looked_at, 1);
}

#[tokio::test]
async fn a_key_does_not_see_the_answers_to_another() {
    let world = World::start().await;
    assert_eq!(create(&world, "a", "k1").send().await.status, 202);
    let other = create(&world, "a", "k1").key(&reader()).send().await;
    problem(&other, 403, "PermissionDenied");
}
