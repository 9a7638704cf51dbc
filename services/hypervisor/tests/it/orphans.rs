//! Systems whose declaration is not there any more although nobody deleted it.

use acp_wire_api::hypervisor::{DeleteSystem, StartSystem, StopSystem};
use acp_wire_model::{Object, system::SystemState};

use crate::node::{Node, request};

/// The cluster service comes to a log in which the system is not, while the hypervisor does not look.
async fn lose(node: &mut Node) -> Object {
    node.die().await;
    let object = node.world.change(|state| {
        let uid = *state.objects.iter().find(|(_uid, object)| object.name == "demo").expect("it is declared").0;
        state.objects.remove(&uid).expect("it is declared")
    });
    node.revive().await;
    node.wait("it is said", |node| node.reason().contains("the cluster does not know")).await;
    object
}

#[tokio::test]
async fn a_guest_that_the_log_does_not_know_runs_on_until_an_operator_decides() {
    let mut node = Node::start().await;
    let uid = node.create().await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    lose(&mut node).await;
    assert!(node.reason().contains(&uid.to_string()), "{}", node.reason());
    node.wait_for_state(uid, SystemState::Running).await;
    assert!(!node.world.was_called("RemoveUnit") && node.has_record(&uid.simple()));

    node.run_job::<StopSystem>(request()).await.expect("it can be stopped");
    assert!(node.has_record(&uid.simple()), "and is not forgotten for that");
    node.run_job::<DeleteSystem>(request()).await.expect("and deleted");
    assert!(node.world.lock().volumes.is_empty() && !node.has_record(&uid.simple()));
    node.wait("nothing is missing", |node| node.reason().is_empty()).await;
}

#[tokio::test]
async fn an_orphan_whose_declaration_comes_back_under_another_name_of_its_node_is_the_same_system() {
    let mut node = Node::start().await;
    let uid = node.create().await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    let mut object = lose(&mut node).await;
    object.spec["node"] = "renamed".into();
    node.world.change(|state| drop(state.objects.insert(uid, object)));
    node.wait("it is known again", |node| node.reason().is_empty()).await;
    node.wait_for_state(uid, SystemState::Running).await;
    assert!(!node.world.was_called("RemoveUnit"));
    node.run_job::<StopSystem>(request()).await.expect("it is this node's");
}
