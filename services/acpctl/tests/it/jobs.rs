//! Verbs that start jobs.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::Router;
use acp_wire_api::{
    Method,
    hypervisor::StartSystem,
    jobs::{Get, JobReply, JobRequest, Started, Watch},
    storage::ImportImage,
};
use acp_wire_model::{
    Kind,
    job::{Job, JobError, JobState},
};
use serde_json::{Value, json};

use crate::node::{Node, only};

fn job(number: u128, state: JobState, error: Option<JobError>) -> Job {
    Job {
        id: Uid::from_u128(number),
        verb: "system-start".into(),
        owner: "hypervisor".into(),
        object_kind: Kind::System,
        object_name: "demo".into(),
        state,
        step: "waiting for QMP".into(),
        percent: Some(40),
        cancellable: false,
        started_ms: 0,
        ended_ms: None,
        error,
    }
}

/// A hypervisor whose systems start by job 1, which succeeds, or job 2, which lacks memory, and which goes away once while
/// the job is watched.
pub(crate) fn add_hypervisor(node: &mut Node) -> Arc<AtomicU32> {
    let watches = Arc::new(AtomicU32::new(0));
    let mut router = Router::new();
    router.once::<StartSystem, _, _>(|call| {
        let number = if call.request.name.as_str() == "demo" { 1 } else { 2 };
        std::future::ready(Ok(Started { job: Some(Uid::from_u128(number)) }))
    });
    let counted = Arc::clone(&watches);
    router.stream::<Watch, _, _>(move |call, sink| {
        let is_first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            let number = call.request.id.as_u128();
            sink.send(JobReply { job: job(number, JobState::Running, None) }).await?;
            if is_first {
                return Err(Failure::unavailable("hypervisor is stopping"));
            }
            let lacking = JobError { code: "ResourceExhausted".into(), message: "512MiB are not free".into() };
            Ok(JobReply {
                job: match number {
                    1 => job(1, JobState::Succeeded, None),
                    other => job(other, JobState::Failed, Some(lacking)),
                },
            })
        }
    });
    router.once::<Get, _, _>(|call| {
        let JobRequest { id } = call.request;
        let found = (id.as_u128() == 1).then(|| JobReply { job: job(1, JobState::Running, None) });
        std::future::ready(found.ok_or_else(|| Failure::not_found("no such job")))
    });
    let interfaces = vec![
        only(acp_wire_api::hypervisor::interface(), &[StartSystem::NAME]),
        only(acp_wire_api::jobs::interface(), &[Watch::NAME, Get::NAME]),
    ];
    node.add_instance("hypervisor", None, interfaces, router);
    watches
}

#[tokio::test]
async fn without_wait_the_job_is_named() {
    let mut node = Node::new();
    let watches = add_hypervisor(&mut node);
    let id = Uid::from_u128(1);
    let out = node.run("system start demo").await.success();
    assert_eq!(out, format!("job {id} started; follow it with: acpctl job watch {id}\n"));
    assert_eq!(node.run("system start demo -o json").await.json(), json!({ "job": id }));
    assert_eq!(watches.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn with_wait_the_job_is_followed_across_a_restart() {
    let mut node = Node::new();
    let watches = add_hypervisor(&mut node);
    assert_eq!(node.run("system start demo --wait").await.success(), "system demo is running\n");
    assert_eq!(watches.load(Ordering::Relaxed), 2, "the watch was taken up again");
    let ended = node.run("system start demo --wait -o json").await.json();
    assert_eq!((&ended["state"], &ended["verb"]), (&json!("succeeded"), &json!("system-start")));
}

#[tokio::test]
async fn the_command_ends_as_its_job() {
    let mut node = Node::new();
    add_hypervisor(&mut node);
    let run = node.run("system start big --wait").await;
    assert_eq!(run.status, Some(i32::from(Code::ResourceExhausted.exit_status())), "{run:?}");
    assert_eq!(run.err, "error: system-start demo: 512MiB are not free\n");
    let run = node.run(&format!("job watch {} -o json", Uid::from_u128(1))).await.json();
    assert_eq!(run["state"], "succeeded");
    let run = node.run(&format!("job watch {}", Uid::from_u128(9))).await;
    assert_eq!(run.status, Some(75), "storage, which could have it, does not answer: {run:?}");
}

#[tokio::test]
async fn an_image_file_is_opened_by_the_caller_and_handed_over() {
    let mut node = Node::new();
    let mut router = Router::new();
    router.once_fds::<ImportImage, _, _>(|mut call| {
        let mut content = String::new();
        if let Some(fd) = call.fds.pop() {
            std::fs::File::from(fd).read_to_string(&mut content).expect("readable");
        }
        let request = json!({"name": call.request.name, "url": call.request.url, "sha256": call.request.sha256,
            "content": content, "source": call.request.source});
        // The fake says what it got in the place where people look.
        std::future::ready(Err(Failure::precondition(request.to_string())))
    });
    node.add("storage", acp_wire_api::storage::interface(), &[ImportImage::NAME], router);
    let file = node.folder().join("disk.img");
    std::fs::write(&file, "the disk").expect("written");
    let seen = |run: crate::node::Run| -> Value {
        assert_eq!(run.status, Some(4), "{run:?}");
        serde_json::from_str(run.err.strip_prefix("error: ").expect("an error")).expect("JSON")
    };
    let got = seen(node.run(&format!("image import i {} --sha256 aa", file.display())).await);
    assert_eq!(got, json!({"name": "i", "url": null, "sha256": "aa", "content": "the disk", "source": file}));
    let got = seen(node.run("image import i http://host/i.qcow2").await);
    assert_eq!((&got["url"], &got["content"]), (&json!("http://host/i.qcow2"), &json!("")));
    let run = node.run("image import i /no/such/file").await;
    assert_eq!(run.status, Some(2));
    assert!(run.err.starts_with("error: cannot open /no/such/file: "), "{}", run.err);
}
