//! What somebody who takes all they can get is given.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{LIMIT, World, admin, problem};

#[tokio::test]
async fn heads_and_bodies_have_an_end() {
    let world = World::start().await;
    let post = world.request("POST", "/v1/systems").key(&admin());
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(64 * 1024));
    let answer = post.clone().body(large.clone()).send().await;
    assert_eq!(problem(&answer, 413, "ResourceExhausted")["blame"], "caller");
    let fits = format!("{{\"name\":\"{}\"}}", "a".repeat(63 * 1024));
    problem(&post.body(fits).send().await, 400, "InvalidArgument");
    let head = world.request("GET", "/v1/health").header("X-Long", &"a".repeat(20 * 1024)).send().await;
    assert_eq!(head.status, 431, "{head:?}");
    let mut many = world.request("GET", "/v1/health");
    for number in 0..80 {
        many = many.header(&format!("X-{number}"), "a");
    }
    assert_eq!(many.send().await.status, 431);
    assert!(world.here.state().created.is_empty());
}

#[tokio::test]
async fn who_only_connects_keeps_nobody_out() {
    let world = World::start().await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        let mut stream = TcpStream::connect(world.address).await.expect("it listens");
        stream.write_all(b"GET /v1/systems HT").await.expect("taken");
        idle.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(world.get("/v1/systems/web").await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut byte = [0];
    let oldest = tokio::time::timeout(LIMIT, idle[0].read(&mut byte)).await.expect("it gave way");
    assert!(matches!(oldest, Ok(0) | Err(_)), "{oldest:?}");
}

#[tokio::test]
async fn who_is_served_does_not_give_way() {
    let world = World::start().await;
    let mut watch = world.request("GET", "/v1/watch").key(&admin()).open().await;
    watch.until("event: synced").await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(world.address).await.expect("it listens"));
    }
    assert_eq!(world.get("/v1/systems/web").await.status, 200);
    world.here.put("late");
    watch.until("\"name\":\"late\"").await;
}

#[tokio::test]
async fn a_deadline_holds_and_says_what_is_not_known() {
    let world = World::start().await;
    world.here.answers.send_replace(false);
    let start = world.request("POST", "/v1/systems/web/start?timeout_ms=200").key(&admin());
    let by_header = world.request("POST", "/v1/systems/web/start").key(&admin()).header("X-Request-Timeout", "200");
    for request in [start, by_header] {
        let begun = Instant::now();
        let problem = problem(&request.send().await, 504, "DeadlineExceeded");
        assert_eq!(problem["changed"], "unknown");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    for bad in ["0", "x", "600001"] {
        problem(&world.get(&format!("/v1/systems?timeout_ms={bad}")).await, 400, "InvalidArgument");
    }
}
