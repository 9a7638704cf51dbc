//! Server-sent events: state, changes, and where they go on.

use crate::{
    harness::{World, admin, problem, reader},
    http::{Request, Stream},
};

fn watch(world: &World, query: &str) -> Request {
    world.request("GET", &format!("/v1/watch{query}")).key(&admin())
}

/// Reads up to the end of the event of this name, and answers what came and its id.
async fn event(stream: &mut Stream, name: &str) -> (String, String) {
    let before = stream.until(&format!("event: {name}\n")).await;
    let event = stream.until("\n\n").await;
    let id = event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or_default().to_owned();
    (before + &event, id)
}

#[tokio::test]
async fn a_watch_tells_state_and_changes_and_goes_on_after_the_last_one_seen() {
    let world = World::start().await;
    let mut stream = watch(&world, "?kind=system").open().await;
    let head = stream.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
    let (state, id) = event(&mut stream, "synced").await;
    assert!(state.contains("event: put\ndata: {\"kind\":\"system\",\"name\":\"web\""), "{state}");
    assert_eq!(id, "c1");
    world.here.put("b");
    let (change, id) = event(&mut stream, "put").await;
    assert!(change.contains("\"name\":\"b\"") && !change.contains("\"name\":\"web\""), "{change}");
    assert_eq!(id, "c2");
    drop(stream);
    world.here.put("c");
    let mut resumed = watch(&world, "").header("Last-Event-ID", &id).open().await;
    let (missed, _) = event(&mut resumed, "synced").await;
    assert!(missed.contains("\"name\":\"c\"") && !missed.contains("\"name\":\"b\""), "{missed}");
    assert!(!missed.contains("resync"), "{missed}");
}

#[tokio::test]
async fn a_watch_that_cannot_go_on_says_so_and_tells_all_again() {
    let world = World::start().await;
    let mut stream = watch(&world, "").header("Last-Event-ID", "of-another-life").open().await;
    let (all, _) = event(&mut stream, "synced").await;
    let (resync, put) = (all.find("event: resync"), all.find("event: put"));
    assert!(resync.is_some() && resync < put, "{all}");
}

#[tokio::test]
async fn a_watch_that_is_lost_says_why_and_ends() {
    let world = World::start().await;
    let mut stream = watch(&world, "").open().await;
    event(&mut stream, "synced").await;
    world.here.end_cluster().await;
    let end = stream.rest().await;
    assert!(end.contains("event: problem") && end.contains("\"code\":\"Unavailable\""), "{end}");
}

#[tokio::test]
async fn a_job_is_told_until_it_has_ended() {
    let world = World::start().await;
    let target = "/v1/jobs/00000000-0000-0000-0000-000000000b0b/watch";
    let mut stream = world.request("GET", target).key(&admin()).open().await;
    assert!(event(&mut stream, "job").await.0.contains("\"state\":\"running\""));
    world.here.end_job();
    let rest = stream.rest().await;
    assert!(rest.contains("\"state\":\"succeeded\"") && rest.contains("event: ended"), "{rest}");
}

#[tokio::test]
async fn watches_of_a_key_are_bounded_and_their_places_given_back() {
    let world = World::start().await;
    let mut open = Vec::new();
    for _ in 0..16 {
        let mut stream = watch(&world, "").open().await;
        event(&mut stream, "synced").await;
        open.push(stream);
    }
    problem(&watch(&world, "").send().await, 429, "ResourceExhausted");
    let mut other = watch(&world, "").key(&reader()).open().await;
    event(&mut other, "synced").await;
    open.clear();
    let look = watch(&world, "").header("Connection", "keep-alive");
    let freed = async || {
        let mut stream = look.clone().open().await;
        let head = stream.until("\r\n\r\n").await;
        acp_dev_wait::seen(head, |head| head.starts_with("HTTP/1.1 200"))
    };
    acp_dev_wait::wait_for_async("a free place", crate::harness::LIMIT, freed).await.expect("it is given back");
    problem(&watch(&world, "?kind=nonsense").send().await, 400, "InvalidArgument");
}
