//! Making units on request.

use std::{io::Read as _, os::fd::OwnedFd};

use acp_base::Code;
use acp_wire_api::framework::{GetUnit, RemoveUnit, SpawnUnit, StartUnit, UnitRequest, WatchUnits, WatchUnitsRequest};
use acp_wire_model::unit::UnitState;

use crate::harness::{Node, request};

#[tokio::test]
async fn descriptors_are_passed_by_name() {
    let Some(node) = Node::start("descriptors_are_passed_by_name").await else { return };
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut asked = request("script", "f");
    asked.arguments = vec!["echo {instance} >&{fd:out}; ls {run}/framework.lock >&{fd:out}".into()];
    asked.fds = vec!["out".into()];
    node.spawn_with(asked, vec![OwnedFd::from(writer)]).await.expect("it runs");
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_bytes| text)
    });
    // The end of the text comes only if neither framework nor shim keeps the descriptor open.
    let text = text.await.expect("no panic").expect("readable");
    assert_eq!(text, format!("f\n{}\n", node.path("run/framework.lock").display()));
}

#[tokio::test]
async fn asking_again_changes_nothing_and_asking_for_another_is_refused() {
    let Some(node) = Node::start("asking_again_changes_nothing_and_asking_for_another_is_refused").await else {
        return;
    };
    let one = node.script("again", "a", "exec sleep 1000").await;
    let two = node.script("again", "a", "exec sleep 1000").await;
    assert_eq!((one.uid, one.meta.pid), (two.uid, two.meta.pid));
    let mut other = request("again", "a");
    other.arguments = vec!["exec sleep 2000".into()];
    let refused = node.spawn_with(other.clone(), Vec::new()).await.expect_err("it runs otherwise");
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (Code::AlreadyExists, "again@a runs with other parameters; remove it first")
    );
    node.remove("again@a").await.expect("it was there");
    let three = node.spawn_with(other, Vec::new()).await.expect("now it may");
    assert_ne!(one.uid, three.uid, "it is another unit");
}

#[tokio::test]
async fn bad_requests_are_refused_and_change_nothing() {
    let Some(node) = Node::start("bad_requests_are_refused_and_change_nothing").await else { return };
    let refused = |template: &str, instance: &str| {
        let asked = request(template, instance);
        let node = &node;
        async move { node.call::<SpawnUnit>(asked).await.expect_err("it is bad") }
    };
    assert_eq!(refused("fly", "x").await.code, Code::NotFound);
    assert_eq!(refused("script", "../x").await.code, Code::InvalidArgument);
    assert_eq!(refused("script", "").await.code, Code::InvalidArgument);
    assert_eq!(refused("cluster", "x").await.code, Code::InvalidArgument);
    let mut bad = request("script", "b");
    bad.arguments = vec!["echo {fd:tap0}".into()];
    let failure = node.spawn_with(bad, Vec::new()).await.expect_err("there is no such descriptor");
    assert!(failure.message.contains("{fd:tap0} stands for no descriptor"), "{failure}");
    assert!(node.unit("nothing").await.is_err());
    let missing = node.call::<StartUnit>(UnitRequest { name: "ghost".into() }).await.expect_err("there is none");
    assert_eq!(missing.code, Code::NotFound);
    let boot = node.call::<RemoveUnit>(UnitRequest { name: "cluster".into() }).await.expect_err("not this one");
    assert_eq!(boot.code, Code::InvalidArgument);
    assert_eq!(
        node.call::<GetUnit>(UnitRequest { name: "a b".into() }).await.expect_err("no name").code,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn watchers_see_units_come_change_and_go() {
    let Some(node) = Node::start("watchers_see_units_come_change_and_go").await else { return };
    let watch = WatchUnitsRequest { templates: vec!["script".into()] };
    let mut replies = node.client.service("framework").stream::<WatchUnits>(watch).await.expect("it answers");
    let first = replies.next().await.expect("a reply").expect("good");
    assert!(first.units.is_empty() && first.gone.is_empty(), "{first:?}");
    node.script("script", "w", "exit 0").await;
    loop {
        let reply = replies.next().await.expect("a reply").expect("good");
        assert!(reply.units.iter().all(|unit| unit.name == "script@w"), "{reply:?}");
        if reply.units.iter().any(|unit| unit.meta.state == UnitState::Stopped) {
            break;
        }
    }
    node.remove("script@w").await.expect("it was there");
    loop {
        let reply = replies.next().await.expect("a reply").expect("good");
        if reply.gone == ["script@w"] {
            break;
        }
    }
}
