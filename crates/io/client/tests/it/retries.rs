//! What is sent again, and what is not.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::Shutdown,
    os::unix::net::UnixListener,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use acp_base::{Change, Code, Failure, Uid};
use acp_dev_nodes::{LIMIT, Nodes, name};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_client::Client;
use acp_io_daemon::Router;
use acp_wire_api::{
    Empty,
    agent::{Measure, MeasureRequest, OpenReply},
    cluster::{List, ListRequest},
    daemon::GetHealth,
    hypervisor::{DeleteSystem, SystemRequest},
    jobs::{Get, JobRequest},
};

use serde_json::json;

use crate::{client, hypervisor};

#[tokio::test]
async fn an_agent_that_went_away_between_calls_goes_unnoticed() {
    let mut nodes = Nodes::start();
    let deleted = hypervisor::add(&mut nodes, "n2");
    let service = client(&nodes).on(Some(&name("n2"))).service("hypervisor");
    for round in 1..=10 {
        service.call::<DeleteSystem>(SystemRequest { name: name("web") }).await.expect("deleted");
        assert_eq!(deleted.load(Ordering::SeqCst), round, "once each");
        nodes.cut().await.expect("it ends");
    }
    assert_eq!(nodes.script().opens.len(), 10);
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_not_sent_again_and_says_so() {
    let mut nodes = Nodes::start();
    let deleted = hypervisor::add(&mut nodes, "n2");
    let service = client(&nodes).on(Some(&name("n2"))).service("hypervisor");
    let call = service.call::<DeleteSystem>(SystemRequest { name: name("forever") });
    let cut = async {
        let count = Arc::clone(&deleted);
        wait_for_async("the call", LIMIT, async || seen(count.load(Ordering::SeqCst), |count| *count == 1)).await?;
        nodes.cut().await
    };
    let (result, cut) = tokio::join!(call, cut);
    cut.expect("it arrived");
    let failure = result.expect_err("cut off");
    assert_eq!((failure.code, failure.changed), (Code::Unavailable, Change::Unknown));
    assert_eq!((deleted.load(Ordering::SeqCst), nodes.script().opens.len()), (1, 1));
}

#[tokio::test]
async fn a_question_that_was_cut_off_is_asked_again() {
    let mut nodes = Nodes::start();
    let asked = hypervisor::add(&mut nodes, "n2");
    let service = client(&nodes).on(Some(&name("n2"))).service("hypervisor");
    let call = service.call::<Get>(JobRequest { id: Uid::from_u128(1) });
    let cut = async {
        let count = Arc::clone(&asked);
        wait_for_async("the call", LIMIT, async || seen(count.load(Ordering::SeqCst), |count| *count == 1)).await?;
        nodes.cut().await
    };
    let (result, cut) = tokio::join!(call, cut);
    cut.expect("it arrived");
    assert_eq!(result.expect_err("the second is answered").code, Code::NotFound);
    assert_eq!((asked.load(Ordering::SeqCst), nodes.script().opens.len()), (2, 2));
}

#[tokio::test]
async fn an_agent_that_finds_no_way_yet_is_asked_again() {
    let mut nodes = Nodes::start();
    nodes.add("n2", "network", Vec::new(), Router::new());
    let refusals = [Failure::unavailable("n2 is not connected"), Failure::unavailable("n2 is not connected")];
    nodes.script().refusals.extend(refusals);
    let service = client(&nodes).on(Some(&name("n2"))).service("network");
    service.call::<GetHealth>(Empty {}).await.expect("the third time");
    assert_eq!(nodes.script().opens.len(), 3);
}

#[tokio::test]
async fn a_way_that_is_never_found_costs_the_deadline_and_says_why() {
    let nodes = Nodes::start();
    let service = client(&nodes).on(Some(&name("n2"))).service("hypervisor").deadline(Duration::from_millis(600));
    let started = Instant::now();
    let failure = service.call::<DeleteSystem>(SystemRequest { name: name("web") }).await.expect_err("never");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!((failure.code, failure.changed), (Code::Unavailable, Change::None));
    assert!(failure.message.starts_with("hypervisor on n2 is starting"), "{failure}");
    assert!((2..20).contains(&nodes.script().opens.len()), "{} attempts", nodes.script().opens.len());
}

#[tokio::test]
async fn a_refusal_is_final() {
    let nodes = Nodes::start();
    let refusal = Failure::new(Code::PermissionDenied, "no key of this cluster");
    nodes.script().refusals.push_back(refusal.clone());
    let service = client(&nodes).on(Some(&name("n2"))).service("network");
    assert_eq!(service.call::<GetHealth>(Empty {}).await.expect_err("refused"), refusal);
    assert_eq!(nodes.script().opens.len(), 1);
}

#[tokio::test]
async fn a_service_that_does_not_answer_costs_the_deadline() {
    let mut nodes = Nodes::start();
    hypervisor::add(&mut nodes, "n2");
    let service = client(&nodes).on(Some(&name("n2"))).service("hypervisor").deadline(Duration::from_millis(200));
    let started = Instant::now();
    let failure = service.call::<DeleteSystem>(SystemRequest { name: name("forever") }).await.expect_err("late");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!((failure.code, failure.changed), (Code::DeadlineExceeded, Change::Unknown));
}

/// The far end has closed its direction, ours is still open: whoever sends is not told.
#[tokio::test]
async fn a_conversation_that_is_half_over_is_not_used_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(folder.path().join("agent.sock")).expect("bound");
    let (answered, is_answered) = std::sync::mpsc::channel();
    let agent = std::thread::spawn(move || {
        let open = json!({ "parameters": OpenReply { node: "n2".into(), here: false, hops: Vec::new() } });
        let mut half_over = Vec::new();
        for _ in 0..2 {
            let (mut stream, _address) = listener.accept().expect("called");
            let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
            for reply in [&open, &json!({ "parameters": {} })] {
                reader.read_until(0, &mut Vec::new()).expect("a call");
                stream.write_all(format!("{reply}\0").as_bytes()).expect("written");
            }
            stream.shutdown(Shutdown::Write).expect("half over");
            half_over.push(stream);
            answered.send(()).expect("waited for");
        }
    });
    let service = Client::new(folder.path()).on(Some(&name("n2"))).service("hypervisor");
    for _ in 0..2 {
        service.call::<DeleteSystem>(SystemRequest { name: name("web") }).await.expect("deleted");
        is_answered.recv_timeout(LIMIT).expect("half over");
    }
    agent.join().expect("no panic");
}

/// Whoever was found takes nothing: what was never sent is sent to its successor, whatever kind of call it is.
#[tokio::test]
async fn a_stream_and_an_upgrade_that_were_not_sent_are_begun_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(folder.path().join("agent.sock")).expect("bound");
    let agent = std::thread::spawn(move || {
        let open = json!({ "parameters": OpenReply { node: "n2".into(), here: false, hops: Vec::new() } });
        let mut kept = Vec::new();
        for answer in [None, Some(json!({ "objects": [], "index": 7 })), None, Some(json!({}))] {
            let (mut stream, _address) = listener.accept().expect("called");
            let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
            reader.read_until(0, &mut Vec::new()).expect("the way is asked for");
            if answer.is_none() {
                stream.shutdown(Shutdown::Read).expect("nothing more is taken");
            }
            stream.write_all(format!("{open}\0").as_bytes()).expect("written");
            if let Some(answer) = answer {
                reader.read_until(0, &mut Vec::new()).expect("a call");
                stream.write_all(format!("{}\0", json!({ "parameters": answer })).as_bytes()).expect("written");
            }
            kept.push(stream);
        }
    });
    let client = Client::new(folder.path()).on(Some(&name("n2")));
    let list = ListRequest { kind: None, selectors: Vec::new(), min_index: None, here: None };
    let mut replies = client.service("cluster").stream::<List>(list).await.expect("the second time");
    assert_eq!(replies.next().await.expect("a reply").expect("listed").index, 7);
    let measure = MeasureRequest { send_bytes: 0, receive_bytes: 0 };
    client.service("agent").upgrade::<Measure>(measure).await.expect("the second time");
    agent.join().expect("no panic");
}
